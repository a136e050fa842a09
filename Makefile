# Everything a newcomer needs: make demo, make test. Needs Python 3.11 to 3.13 and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo test test-browser test-slow test-fast test-deploy test-ipfs chaos accuracy check docs migration format clean

setup: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] < (3, 14) else "flfleet needs Python 3.11 to 3.13, $(PYTHON) is %d.%d: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,dev]'
	@touch $@

# A whole federated round on this machine, three times, in under three minutes.
demo: setup
	$(BIN)/flfleet demo

# Every test, real processes included, in under five minutes on two cores.
test: setup
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "not slow and not browser"

# The pages in a real Chromium, and the alert rules by promtool: both skip by name where they are not installed.
test-browser: setup
	$(BIN)/python -m pytest -m browser
	$(BIN)/python -m pytest tests/deploy -m "not slow"

# The longer ones: workers killed at every step, hosts partitioned, chaos in short.
test-slow: setup
	$(BIN)/python -m pytest -m slow

# Only what starts no processes: a few minutes.
test-fast: setup
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "not services and not slow and not browser"

# Models over IPFS against a real node, offline on loopback. It comes from npm, which a desk may lack.
IPFS_NODE := tests/ipfs_node
test-ipfs: setup
	@if ! command -v npm >/dev/null; then echo "test-ipfs: skipped, npm is not installed"; exit 0; fi; \
	set -e; [ $(IPFS_NODE)/node_modules/.package-lock.json -nt $(IPFS_NODE)/package.json ] \
		|| npm install --prefix $(IPFS_NODE) --ignore-scripts --no-audit --no-fund; \
	FLFLEET_TEST_IPFS_NODE=1 $(BIN)/python -m pytest -m ipfs_node

# A fleet and a network under fire: make chaos SEED=7 SECONDS=60 RUNS=100 (each may be left out).
chaos: setup
	$(BIN)/flfleet chaos $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(RUNS),--runs $(RUNS))

# compose.yaml run without a container engine, users, secrets and read-only roots included, and a federated round over it.
# Linux, root; apt-get install redis-server postgresql iproute2
test-deploy: setup
	$(BIN)/python -m pytest -m deploy

# docs/ as pages in build/docs; a warning is an error.
docs: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir build/docs

# The tables in the code have changed: writes what brings older ledgers there. make migration WORDS="count failures"
migration: setup
	$(BIN)/python -m pipeline.stores.db.migrations $(WORDS)
	$(BIN)/ruff format --quiet pipeline/stores/db/migrations

# Accuracy over bytes beside dense FedAvg, own top-k and flwr (in an environment of its own): the table and picture of docs/accuracy.md.
# It takes an hour or two, goes on where it was stopped, and fails where a target is missed. A part, printed only: make accuracy WORKLOADS=tumours SEEDS=1
accuracy: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/flfleet bench learning --install-flwr $(if $(RESULTS),--results $(RESULTS)) $(if $(WORKLOADS)$(SEEDS),\
		$(if $(WORKLOADS),--workloads $(WORKLOADS)) $(if $(SEEDS),--seeds $(SEEDS)),--plot docs/accuracy.svg --table docs/accuracy.md)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
