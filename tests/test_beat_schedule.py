import ast
import importlib
import sys
from pathlib import Path

import pytest

import beat_schedule
from pipeline.settings import Settings
from tasks.app import QUEUES, app

MODULES = {
    "miner": ["tasks.polling", "tasks.sweeping", "tasks.verification", "tasks.retention"],
    "aggregator": ["tasks.aggregation", "tasks.retention"],
    "publisher": ["tasks.publishing"],
}


@pytest.mark.parametrize("role", list(beat_schedule.TIMETABLE))
def test_every_task_of_the_timetable_exists_and_goes_to_a_queue(role):
    for module in MODULES[role]:
        importlib.import_module(module)
    for name, queue, _ in beat_schedule.TIMETABLE[role].values():
        assert name in app.tasks
        assert queue in QUEUES
        # Wherever it is sent from, it goes to the same pool.
        assert app.amqp.router.route({}, name)["queue"].name == queue


def test_the_timetable_imports_nothing_of_the_product():
    tree = ast.parse(Path(beat_schedule.__file__).read_text())
    imported = {
        name.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in node.names
    }
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names


def test_entries_follow_the_roles_and_expire_before_they_pile_up(tmp_path):
    entries = beat_schedule.timetable(
        Settings(home=tmp_path, roles=["miner"], poll_seconds=7, sweep_seconds=0.5, verify_seconds=9)
    )
    assert {entry["task"]: entry["schedule"] for entry in entries.values()} == {
        "flfleet.poll": 7.0,
        "flfleet.sweep": 0.5,
        "flfleet.verify": 9.0,
        "flfleet.prune": 86400.0,
    }
    assert {entry["options"]["expires"] for entry in entries.values()} == {7.0, 1.0, 9.0, 86400.0}
    assert beat_schedule.timetable(Settings(home=tmp_path, roles=["backend"])) == {}
