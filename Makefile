# Everything a newcomer needs: make demo, make test. Needs Python 3.11 to 3.13 and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo test test-slow test-fast chaos accuracy check format clean

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
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "not slow"

# The longer ones: workers killed at every step, hosts partitioned, chaos in short.
test-slow: setup
	$(BIN)/python -m pytest -m slow

# Only what starts no processes: a few minutes.
test-fast: setup
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "not services and not slow"

# A fleet and a network under fire: make chaos SEED=7 SECONDS=60 RUNS=100 (each may be left out).
chaos: setup
	$(BIN)/flfleet chaos $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(RUNS),--runs $(RUNS))

# Accuracy over bytes beside dense FedAvg, own top-k and flwr (in an environment of its own): the table of docs/accuracy.md. It takes long, and goes on where it was stopped.
accuracy: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/flfleet bench learning --install-flwr --plot docs/accuracy.svg

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
