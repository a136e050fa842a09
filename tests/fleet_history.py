"""A ledger in which something of everything has happened, by the ledger's own methods."""

import time
from pathlib import Path

from pipeline.settings import Settings
from pipeline.stores.db.owners import this_process
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.records import Refusal, Stage, WorkerSeen
from tests.signed_tasks import MINERS, make_task

#: What a hostile party would write wherever it may write something.
HOSTILE = "</p><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
NAMES = ("hospital-1", "hospital-2", "hospital-3")


def settings_of(home: Path, **changes) -> Settings:
    return Settings(home=home, **changes)


def write_history(settings: Settings) -> RunLedger:
    """Two rounds trained and accepted by three miners, one training at work, one run rejected, one waiting, a refusal."""
    ledger, me = RunLedger.open(settings), this_process()
    for number in (1, 2):
        parent = "0x" + "0" * 64 if number > 1 else None
        task = make_task(taskID="chest-1", round=number, parentBlockHash=parent)
        for place, name in enumerate(NAMES):
            run_id = ledger.add_run(task, MINERS[place].address, name, max_submissions=99)
            for stage in Stage:
                ledger.commit(ledger.claim(run_id, stage, me), {}, figures(stage, number, place))
    task = make_task(taskID="chest-2")
    run_ids = [
        ledger.add_run(task, MINERS[place].address, name, max_submissions=99) for place, name in enumerate(NAMES)
    ]
    for stage in (Stage.FETCH, Stage.DATA):
        ledger.commit(ledger.claim(run_ids[0], stage, me), {}, figures(stage, 1, 0))
    ledger.report(ledger.claim(run_ids[0], "train", me), {"epoch": 2, "epochs": 5, "loss": 1.25})
    ledger.reject(ledger.claim(run_ids[1], "fetch", me), f"the aggregator said: {HOSTILE}")
    ledger.defer(ledger.claim(run_ids[2], "fetch", me), "backend away", 60.0)
    now = time.time()
    ledger.refuse(
        Refusal(task_hash="0x" + "1" * 64, miner="", task_id=HOSTILE[:64], round=3, reasons=(HOSTILE,), created_at=now)
    )
    for pool in ("train", "submit"):
        ledger.say_present(
            WorkerSeen(
                name=f"{pool}@ward",
                pool=pool,
                host="ward",
                pid=7,
                processes=2,
                devices=["cuda:0 NVIDIA A100" if pool == "train" else "8 x a processor"],
                started_at=now - 3600,
                seen_at=now,
            )
        )
    return ledger


def figures(stage: Stage, number: int, place: int) -> dict:
    if stage is Stage.TRAIN:
        metrics = [{"loss": 2.4 / (number + epoch) + place / 10, "heldAccuracy": 0.8} for epoch in range(3)]
        return {"metrics": metrics, "accuracy": 0.8 + place / 100, "device": "cpu"}
    return {
        Stage.FETCH: {"modelBytes": 47_000, "coordinates": 11_770},
        Stage.COMPRESS: {"coordinates": 11_770},
        Stage.ENCRYPT: {"ciphertextBytes": 64_702},
        Stage.SUBMIT: {"payloadBytes": 66_000},
    }.get(stage, {})
