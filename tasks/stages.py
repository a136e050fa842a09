"""The seven stages as Celery tasks, by the names that people see in Flower. Each does one stage of one run.

Which queue each goes to, and how long it may take, stands in the app's `task_routes` and `task_annotations`."""

from typing import Any

from pipeline.errors import Misconfigured, Rejected
from pipeline.stages.contract import Stage
from tasks.app import app
from tasks.perform import StageTask, perform

STAGE: dict[str, Any] = {
    "base": StageTask,
    "bind": True,
    # The message is gone when the stage has ended, and comes back when its process was killed; the ledger counts that.
    "acks_late": True,
    "reject_on_worker_lost": True,
    # Results are in the ledger.
    "ignore_result": True,
    # The run has ended, with the reason in the ledger: a failure in Flower, but no traceback in the logs.
    "throws": (Rejected, Misconfigured),
}


@app.task(name="flfleet.fetch", **STAGE)
def fetch(self: StageTask, run_id: str) -> str:
    """Model, support and parent block into the artifact store."""
    return perform(self, run_id, Stage.FETCH)


@app.task(name="flfleet.data", **STAGE)
def data(self: StageTask, run_id: str) -> str:
    """The miner's data set checked and made ready."""
    return perform(self, run_id, Stage.DATA)


@app.task(name="flfleet.train", **STAGE)
def train(self: StageTask, run_id: str) -> str:
    """The model trained; delta = w_old - w_new."""
    return perform(self, run_id, Stage.TRAIN)


@app.task(name="flfleet.compress", **STAGE)
def compress(self: StageTask, run_id: str) -> str:
    """delta and residual as small integers on the support."""
    return perform(self, run_id, Stage.COMPRESS)


@app.task(name="flfleet.commit", **STAGE)
def commit(self: StageTask, run_id: str) -> str:
    """The score committed to, its opening kept."""
    return perform(self, run_id, Stage.COMMIT)


@app.task(name="flfleet.encrypt", **STAGE)
def encrypt(self: StageTask, run_id: str) -> str:
    """Ciphertext and proof."""
    return perform(self, run_id, Stage.ENCRYPT)


@app.task(name="flfleet.submit", **STAGE)
def submit(self: StageTask, run_id: str) -> str:
    """The signed submission sent, the receipt kept."""
    return perform(self, run_id, Stage.SUBMIT)
