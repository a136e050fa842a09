"""What Flower really shows: its own HTTP API over a real worker's events."""

import subprocess
import sys
import time

import pytest
import requests
from pydantic import SecretStr

from cli.ports import free_port
from cli.programs import flower
from pipeline.errors import Misconfigured
from pipeline.settings import load
from tasks.progress import in_words
from tests.signed_tasks import MINERS, make_task
from tests.worker_fleet import ROOT, wait_until
from tests.worker_fleet import broker as broker
from tests.worker_fleet import environment as environment
from tests.worker_fleet import ledger as ledger
from tests.worker_fleet import ledger_url as ledger_url
from tests.worker_fleet import start_worker as start_worker
from tests.worker_fleet import sweep as sweep

#: A training of the tests: it reports, and goes on until its file is gone.
TRAINING = """
import os, time
from pipeline.stages.contract import Output

def run(job):
    open(os.environ["TRIVIAL_LOG"] + ".training", "w").close()
    while os.path.exists(os.environ["TRIVIAL_LOG"] + ".training"):
        job.report({"epoch": 2, "epochs": 5, "loss": 0.40612})
        time.sleep(0.3)
    return Output()
"""


class Flower:
    """A Flower as `flfleet up` starts it, asked as a person's browser asks it."""

    def __init__(self, environment: dict[str, str], home) -> None:
        self._url = f"http://127.0.0.1:{(port := free_port())}"
        home.mkdir(exist_ok=True)
        (home / "run").mkdir(exist_ok=True)
        program = flower(home, port, password=SecretStr("fleet-password"))
        # Its state is kept every ten seconds; a test does not wait so long.
        command = [part.replace("=10000", "=300") for part in program.command]
        own = environment | dict(program.environment)
        self._process = subprocess.Popen(
            command, env=own, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def ask(self, path: str, password: str = "fleet-password") -> requests.Response | None:
        try:
            return requests.get(self._url + path, auth=("flfleet", password), timeout=5)
        except requests.ConnectionError:
            return None

    def tasks(self) -> dict[str, dict]:
        answer = self.ask("/api/tasks?limit=100")
        return answer.json() if answer is not None and answer.ok else {}

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)


@pytest.mark.services
def test_stages_show_whose_they_are_and_a_training_how_far_it_is(environment, ledger, start_worker, sweep, tmp_path):
    (tmp_path / "stages/train.py").write_text(TRAINING)
    shown = Flower(environment, tmp_path / "home")
    try:
        wait_until(lambda: shown.ask("/api/tasks") is not None, 30)
        assert shown.ask("/tasks", password="another").status_code == 401
        start_worker("all")
        # Workers tell of their tasks only once Flower has asked them to.
        wait_until(lambda: shown.tasks(), 40, sweep)
        run_id = ledger.add_run(make_task(), MINERS[0].address, "ward-7")
        name = f"{run_id}.train."

        def train() -> dict:
            return next((task for uuid, task in shown.tasks().items() if uuid.startswith(name)), {})

        wait_until(lambda: train().get("state") == "PROGRESS", 60, sweep)
        assert train()["result"] == "epoch 2 of 5, loss 0.4061"
        assert train()["args"] == f"(task_001, round 1, ward-7, run {run_id})"
        assert train()["name"] == "flfleet.train"
        page = shown.ask(f"/task/{train()['uuid']}").text
        assert "ward-7" in page
        assert MINERS[0].secret.hex() not in page
        (tmp_path / "log.training").unlink()
        wait_until(lambda: train().get("state") == "SUCCESS", 30, sweep)
        time.sleep(1)  # past one interval of keeping its state
    finally:
        shown.stop()
    again = Flower(environment, tmp_path / "home")
    try:
        wait_until(lambda: again.tasks(), 30)
        assert any(uuid.startswith(name) for uuid in again.tasks())
    finally:
        again.stop()


def test_beyond_loopback_it_wants_a_password_which_is_in_no_argument(tmp_path):
    with pytest.raises(Misconfigured, match="FLFLEET_PAGE_PASSWORD"):
        flower(tmp_path, 5555, "0.0.0.0")
    program = flower(tmp_path, 5555, "0.0.0.0", SecretStr("fleet-password"))
    assert "fleet-password" not in " ".join(program.command)
    assert program.environment["FLOWER_BASIC_AUTH"] == "flfleet:fleet-password"


def test_progress_is_words_for_a_person():
    memory = {"device": "GPU-1", "name": "A100", "used": 30, "total": 40}
    assert in_words({"epoch": 1, "epochs": 2, "loss": 0.123456, "gpuMemory": memory}) == (
        "epoch 1 of 2, loss 0.1235, GPU memory 75%"
    )


def test_up_beyond_loopback_makes_a_password_and_says_where(tmp_path, capsys):
    from cli.up import Pages, page_programs

    (tmp_path / "fleet.toml").write_text("")
    programs = page_programs(tmp_path, load(tmp_path), Pages(listen="0.0.0.0", flower_port=0, page_port=free_port()))
    path = tmp_path / "page.password"
    assert path.stat().st_mode & 0o777 == 0o600
    password = path.read_text().strip()
    (page,) = programs
    assert page.environment["FLFLEET_PAGE_PASSWORD"] == password
    assert password not in " ".join(page.command) + capsys.readouterr().err
    assert sys.executable in page.command
