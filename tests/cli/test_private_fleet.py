"""Differential privacy through a fleet of real processes: what is spent is counted, and what would be too much ends with the reason."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from cli.console import Exit
from cli.homes import NewMiner, create_fleet_home
from cli.init import write_sample_digits
from cli.localnet import Ports, prepare
from cli.supervision import Supervisor
from cli.up import Pages, fleet_programs
from pipeline.settings import load
from pipeline.stores.db.engine import open_database
from pipeline.stores.fleet.ledger import Run, RunLedger
from pipeline.stores.keys import public_part, write_keystore
from tests.commands import processes_of, start

pytestmark = [pytest.mark.services, pytest.mark.slow]

NAMES = ("north", "south", "west")
#: One quiet epoch over 720 digits spends about 3; two of them are beyond the data set's budget, and a loud one beyond a training's.
LARGEST, BUDGET = 6.0, 3.5
ENDED = ("accepted", "rejected", "dead", "expired", "dropped")


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """A fleet and a network that run."""

    home: Path
    publisher: Path
    consortium: Path

    def publish(self, task_id: str, seed: int, *options: str) -> None:
        """A small network's task, by the publisher's command. Another seed is another model: one may be sent once."""
        model = f"--architecture mlp --keyword hidden=8 --seed {seed} --dataset mnist --rounds 1 --plan 1.0".split()
        recipe = ("--recipe", "epochs=1", "--recipe", "learningRate=0.2")
        where = ("--consortium", str(self.consortium))
        with start("publish", self.publisher, task_id, *model, *recipe, *where, *options) as command:
            _out, err = command.communicate(timeout=60)
        assert command.returncode == Exit.OK, err

    def runs(self, task_id: str) -> list[Run]:
        """As the ledger has them."""
        ledger = RunLedger(open_database(load(self.home).ledger))
        found = [run for run in ledger.runs() if run.task_id == task_id]
        ledger.close()
        return found

    def ended(self, task_id: str) -> list[Run]:
        """Waits until every identity's run of a task is over."""
        eventually(lambda: [run.state for run in self.runs(task_id) if run.state in ENDED][len(NAMES) - 1 :])
        return self.runs(task_id)

    def says(self, command: str) -> Any:
        """What a command of the operator's answers as JSON."""
        with start(command, self.home) as process:
            out, err = process.communicate(timeout=60)
        assert process.returncode == Exit.OK, err
        return json.loads(out)


def eventually(check: Callable[[], object], seconds: float = 240.0) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.3)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.ConnectionError:
        return False


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    home, network_home = tmp_path / "fleet", tmp_path / "network"
    addresses = [public_part(write_keystore(home / "keys" / f"{name}.json"))[0] for name in NAMES]
    write_sample_digits(home / "data", NAMES, network_home / "validation")
    ports = Ports(backend=0, aggregator=0, publisher=0)
    network = prepare(network_home, None, addresses, ports, network_home / "validation")
    caps = (
        f"max_epsilon = {LARGEST}\nprivacy_budget = {{ mnist = {BUDGET} }}\npoll_seconds = 1.0\nsweep_seconds = 2.0\n"
    )
    miners = [NewMiner(name=name, data=Path("data") / name) for name in NAMES]
    create_fleet_home(home, miners, network.consortium, extra=caps)
    supervisor = Supervisor(tmp_path)
    programs = [*network.programs, *fleet_programs(home, Pages(flower_port=0, page_port=0))]
    supervisor.start(programs, tied=True, own_settings=True)
    try:
        eventually(lambda: answers(f"{network.consortium.backend}/tasks/open"))
        yield Fleet(home=home, publisher=network.publisher_home, consortium=network_home / "consortium.json")
    finally:
        supervisor.stop()
    assert processes_of(tmp_path) == []


@pytest.mark.timeout(900)
def test_a_private_task_is_trained_accepted_and_counted_and_what_spends_too_much_says_so(fleet: Fleet) -> None:
    fleet.publish("private", 1, "--dp", "noise=0.8", "--dp", "clip=1.0")
    private = fleet.ended("private")
    assert [run.state for run in private] == ["accepted"] * 3, [run.error for run in private]
    spent = {run.miner_name: run.figures["privacy"]["epsilon"] for run in private}
    for run in private:
        assert BUDGET / 2 < spent[run.miner_name] < BUDGET
        assert run.figures["privacy"]["noise"] == 0.8
        assert run.figures["metrics"][-1]["epsilon"] == spent[run.miner_name]
    status = {run["name"]: run["privacy"]["epsilon"] for run in fleet.says("status")["runs"]}
    assert status == spent
    rows = {row["name"]: row for row in fleet.says("privacy")["dataSets"]}
    assert {name: row["epsilon"] for name, row in rows.items()} == spent
    assert {(row["submissions"], row["withoutEpsilon"], row["maxEpsilon"]) for row in rows.values()} == {(1, 0, BUDGET)}

    fleet.publish("loud", 2, "--dp", "noise=0.3", "--dp", "clip=1.0")
    fleet.publish("again", 3, "--dp", "noise=0.8", "--dp", "clip=1.0")
    fleet.publish("plain", 4)
    for run in fleet.ended("loud"):
        assert run.state == "rejected"
        assert run.error is not None
        assert "dp would spend epsilon" in run.error
        assert f"at most {LARGEST:g} is allowed (FLFLEET_MAX_EPSILON)" in run.error

    for run in fleet.ended("again"):
        assert run.state == "rejected"
        assert run.error is not None
        assert f"has spent epsilon {spent[run.miner_name]:g} of {BUDGET:g} (FLFLEET_PRIVACY_BUDGET)" in run.error
        assert "nothing is sent" in run.error

    refusals = fleet.says("status")["refusals"]
    assert [refusal["taskID"] for refusal in refusals] == ["plain"] * 3
    for refusal in refusals:
        assert "training has no dp; FLFLEET_MAX_EPSILON is 6, so only private trainings run" in refusal["reasons"]
    assert {row["epsilon"] for row in fleet.says("privacy")["dataSets"]} == set(spent.values())
