import csv
import json
from xml.etree import ElementTree as ET

import pytest

from cli.retrain import Pace
from cli.retrain_report import by_task
from pipeline.errors import Misconfigured
from pipeline.stores.db.owners import this_process
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.records import State
from pipeline.stores.fleet.retraining_records import Turn
from tests.home_commands import add, flfleet


def work(ledger: RunLedger) -> None:
    """What a worker does, with invented figures: every other training fails."""
    number = 0
    while (claim := ledger.next_retraining(this_process())) is not None:
        if number % 2:
            ledger.fail_retraining(claim, "data set 'digits' is not held")
        else:
            ledger.finish_retraining(claim, {"losses": [2.0, 1.5], "accuracy": 0.75, "epochs": 2, "device": "cpu"})
        number += 1


def test_tasks_are_queued_and_the_batch_is_named(home, ledger):
    add(ledger, "one")
    add(ledger, "two")
    result = flfleet(home, "retrain", "one")
    assert result.exit_code == 0
    (row,) = ledger.retrainings(result.stdout.strip())
    assert (row.task_id, row.state, row.priority) == ("one", Turn.QUEUED, 5)


def test_a_list_of_tasks_may_lie_in_a_file(home, ledger, tmp_path):
    for name in ("one", "two", "three"):
        add(ledger, name)
    (tmp_path / "list").write_text("# after the new scanner\none\n\ntwo  # again\n")
    document = json.loads(
        flfleet(home, "retrain", "--file", str(tmp_path / "list"), "--priority", "2", "--json").stdout
    )
    assert document["counts"]["queued"] == 2
    assert [task["taskID"] for task in document["tasks"]] == ["one", "two"]


def test_an_unknown_task_is_named_and_nothing_is_queued(home, ledger):
    add(ledger, "one")
    result = flfleet(home, "retrain", "one", "nonsense")
    assert isinstance(result.exception, Misconfigured)
    assert "nonsense" in str(result.exception)
    assert ledger.retraining_counts() == {}


@pytest.mark.parametrize("arguments", [[], ["one", "--all"], ["--all", "--dataset", "digits"]])
def test_there_is_exactly_one_way_to_say_which_tasks(home, arguments):
    assert "one of these" in str(flfleet(home, "retrain", *arguments).exception)


def test_the_report_is_a_table_a_csv_and_a_picture(home, ledger, tmp_path):
    for name in ("one", "two"):
        add(ledger, name)
    batch = flfleet(home, "retrain", "--all").stdout.strip()
    work(ledger)
    files = ["--report", str(tmp_path / "all.csv"), "--plot", str(tmp_path / "all.svg")]
    result = flfleet(home, "retrain", "--batch", "newest", "--wait", "--json", *files)
    assert result.exit_code == 1  # one of the two failed
    document = json.loads(result.stdout)
    assert document["batch"] == batch
    assert (document["counts"]["done"], document["counts"]["failed"]) == (1, 1)
    done = next(task for task in document["tasks"] if task["done"])
    assert (done["lossFirst"], done["lossLast"], done["accuracy"]) == (2.0, 1.5, 0.75)
    with (tmp_path / "all.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["state"] for row in rows} == {"done", "failed"}
    assert {row["error"] for row in rows} == {"", "data set 'digits' is not held"}
    assert ET.parse(tmp_path / "all.svg").getroot().tag.endswith("svg")
    assert "1 done, 1 failed" in flfleet(home, "retrain", "--batch", batch).stdout


def test_a_plot_of_another_kind_is_refused(home, ledger, tmp_path):
    add(ledger, "one")
    flfleet(home, "retrain", "one")
    result = flfleet(home, "retrain", "--batch", "newest", "--plot", str(tmp_path / "plot.pdf"))
    assert ".png or .svg" in str(result.exception)


def test_cancel_ends_trainings_by_task_by_batch_or_all(home, ledger):
    for name in ("one", "two", "three"):
        add(ledger, name)
    batch = flfleet(home, "retrain", "one").stdout.strip()
    flfleet(home, "retrain", "two")
    flfleet(home, "retrain", "three")
    assert "1 trainings" in flfleet(home, "cancel", batch).stderr
    assert "1 trainings" in flfleet(home, "cancel", "--task", "two").stderr
    assert "1 trainings" in flfleet(home, "cancel", "--all").stderr
    assert ledger.retraining_counts() == {Turn.CANCELLED: 3}
    assert all(run.state is State.QUEUED for run in ledger.runs())


def test_cancel_of_a_run_gives_it_up_and_fences_its_worker(home, ledger):
    run_id = add(ledger, "one")
    claim = ledger.claim(run_id, "fetch", this_process())
    assert "1 runs dropped" in flfleet(home, "cancel", run_id).stderr
    assert ledger.run(run_id).state is State.DROPPED
    assert claim is not None
    with pytest.raises(Exception, match="no longer this worker's"):
        ledger.commit(claim, {}, {})


def test_cancel_of_something_unknown_changes_nothing(home, ledger):
    run_id = add(ledger, "one")
    assert "no run nonsense" in str(flfleet(home, "cancel", run_id, "nonsense").exception)
    assert ledger.run(run_id).state is State.QUEUED


def test_a_training_in_a_stack_took_its_share_of_the_stacks_time(home, ledger):
    for name in ("one", "two"):
        add(ledger, name)
        sum(ledger.add_retrainings(batch="batch", priority=5))
    claims = [ledger.next_retraining(this_process()) for _ in range(2)]
    for claim, together in zip(claims, (1, 4), strict=True):
        ledger.finish_retraining(claim, {"losses": [1.0], "together": together})
    seconds = {row.task_id: row.seconds for row in ledger.retrainings("batch")}
    reports = {task.task_id: task.seconds for task in by_task(ledger.retrainings("batch"))}
    assert reports == {"one": pytest.approx(seconds["one"]), "two": pytest.approx(seconds["two"] / 4)}


def test_the_estimate_follows_the_last_minute():
    pace = Pace()
    assert pace.left(0.0, 0, 100) is None
    assert pace.left(10.0, 20, 80) == (120.0, 40.0)
    for second in range(11, 200):
        last = pace.left(float(second), 20 + (second - 10) // 2, 10)
    assert last is not None
    assert 28 <= last[0] <= 32
