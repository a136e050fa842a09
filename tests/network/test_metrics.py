import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from network.fleet import build
from pipeline.stores.db.owners import this_process
from pipeline.stores.fleet.records import Stage
from tests.fleet_history import NAMES, settings_of, write_history
from tests.serving import serving

DEPTHS = {"fetch": 4, "control": 1}


@pytest.fixture
def home(tmp_path):
    settings = settings_of(tmp_path / "home")
    ledger = write_history(settings)
    yield settings, ledger
    ledger.close()


def scrape(settings, depths=DEPTHS) -> dict[tuple, float]:
    """Samples by name and labels, of a service that was started just now."""
    with serving(build(settings, lambda _queues: depths)) as url:
        answer = requests.get(f"{url}/metrics", timeout=10)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(answer.text)
    return {(one.name, *sorted(one.labels.values())): one.value for family in families for one in family.samples}


def test_what_the_ledger_knows_is_scraped(home):
    samples = scrape(home[0])
    assert samples["flfleet_ledger_up",] == samples["flfleet_broker_up",] == 1
    assert samples["flfleet_runs", "", "accepted"] == 6
    assert samples["flfleet_runs", "running", "train"] == 1
    assert samples["flfleet_runs", "", "rejected"] == 1
    assert samples["flfleet_stage_runs_total", "fetch"] == 7
    assert (
        samples["flfleet_stage_seconds_count", "train"] == samples["flfleet_stage_seconds_bucket", "+Inf", "train"] == 6
    )
    assert samples["flfleet_stage_failures_total", "fetch", "rejected"] == 1
    assert samples["flfleet_stage_failures_total", "fetch", "retryable"] == 1
    assert samples["flfleet_queue_messages", "fetch"] == 4
    assert samples["flfleet_refused_tasks",] == 1
    assert samples["flfleet_worker_processes", "train", "train@ward"] == 2


def test_loss_is_that_of_the_training_at_work_and_accuracy_of_the_last_that_ended(home):
    samples = scrape(home[0])
    assert samples["flfleet_training_loss", "digits", NAMES[0]] == 1.25
    assert samples["flfleet_training_loss", "digits", NAMES[1]] == pytest.approx(2.4 / 4 + 0.1)
    assert samples["flfleet_training_accuracy", "digits", NAMES[2]] == pytest.approx(0.82)


def test_speeds_are_there_for_the_stages_that_have_them(home):
    samples = scrape(home[0])
    assert samples["flfleet_stage_coordinates_per_second", "encrypt"] > 0
    assert samples["flfleet_stage_bytes_per_second", "submit"] > 0
    assert ("flfleet_stage_bytes_per_second", "commit") not in samples


def test_counters_go_on_over_a_restart_of_the_service(home):
    settings, ledger = home
    before = scrape(settings)
    (running,) = [run for run in ledger.runs() if run.progress.get("epoch") == 2]
    ledger.drop(running.run_id)
    other = next(run for run in ledger.runs() if run.error == "backend away")
    ledger.retry(other.run_id)
    ledger.commit(ledger.claim(other.run_id, Stage.FETCH, this_process()), {}, {})
    after = scrape(settings)
    assert after["flfleet_stage_runs_total", "fetch"] == before["flfleet_stage_runs_total", "fetch"] + 1
    falling = [
        key for key, value in before.items() if key[0].endswith(("_total", "_count", "_bucket")) and after[key] < value
    ]
    assert falling == []


def test_a_queue_that_waits_has_an_age(home):
    settings, ledger = home
    for run in ledger.runs():
        if run.error == "backend away":
            ledger.retry(run.run_id)
    samples = scrape(settings)
    assert samples["flfleet_queue_runs", "fetch"] == 1
    assert 0 <= samples["flfleet_queue_oldest_seconds", "fetch"] < 60


def test_gpu_memory_is_that_of_the_trainings_at_work(home):
    settings, ledger = home
    task = next(run for run in ledger.runs() if run.error == "backend away")
    ledger.retry(task.run_id)
    for stage in ("fetch", "data"):
        ledger.commit(ledger.claim(task.run_id, stage, this_process()), {}, {})
    memory = {"device": "GPU-1", "name": "A100", "used": 30, "total": 40}
    ledger.report(
        ledger.claim(task.run_id, "train", this_process()), {"epoch": 1, "epochs": 2, "loss": 0.5, "gpuMemory": memory}
    )
    used = {key: value for key, value in scrape(settings).items() if key[0] == "flfleet_gpu_memory_used_bytes"}
    ((key, value),) = used.items()
    assert "GPU-1" in key
    assert value == 30


def test_a_broker_that_is_away_is_a_value_and_no_error(home):
    samples = scrape(home[0], depths=None)
    assert samples["flfleet_broker_up",] == 0
    assert samples["flfleet_runs", "", "accepted"] == 6


def test_a_ledger_that_is_away_is_a_value_and_no_error(tmp_path):
    (tmp_path / "home/ledger.sqlite").mkdir(parents=True)
    assert scrape(settings_of(tmp_path / "home")) == {("flfleet_ledger_up",): 0.0}
