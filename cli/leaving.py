"""`flfleet what-leaves` and `flfleet privacy`: exactly what a run sent, what that reveals to whom, and what a data set has spent."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from cli.console import OUT
from pipeline.errors import Corrupt
from pipeline.protocol.encodings import count_bits
from pipeline.protocol.submission import Submission
from pipeline.protocol.task import Task
from pipeline.settings import load
from pipeline.stores.artifacts import ArtifactStore
from pipeline.stores.db.engine import open_database
from pipeline.stores.fleet.base import PAYLOAD
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.privacy import privacy_of
from pipeline.stores.fleet.records import Run
from pipeline.stores.fleet.witness import WitnessLedger


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """What left of a run, and what it says."""

    document: dict[str, Any]
    #: Sentences for a person.
    reveals: list[str]


def what_leaves(home: Path, run_id: str, *, as_json: bool) -> None:
    """Prints it. Raises Misconfigured for an unknown run."""
    settings = load(home)
    book = RunLedger.open(settings)
    run = book.run(run_id)
    task = book.task(run.task_hash)
    book.close()
    found = examine(run, task, ArtifactStore(settings.artifacts, settings.cache / "scratch"))
    witness = WitnessLedger(open_database(settings.ledger))
    later = _said_later(witness, run)
    witness.close()
    found.document["later"] = later
    if as_json:
        OUT.print(json.dumps({**found.document, "reveals": found.reveals}), soft_wrap=True)
        return
    table = Table("what", "value", title=f"{run.task_id} round {run.round}, {run.miner_name}", show_header=False)
    for name, value in found.document.items():
        table.add_row(name, json.dumps(value) if isinstance(value, (dict, list)) else str(value))
    OUT.print(table)
    for sentence in found.reveals:
        OUT.print(f"- {sentence}", soft_wrap=True)


def examine(run: Run, task: Task, artifacts: ArtifactStore) -> Leaving:
    """Reads the bytes that were sent, or says that none were. Raises Corrupt where they are damaged."""
    asked = _asked(task)
    if PAYLOAD not in run.notes:
        return Leaving(
            document={"sent": False, "state": run.state.value, "asked": asked},
            reveals=[
                "No part of an update has left.",
                "Whoever serves the model, the support and the task board saw that this host asked for them, and when.",
            ],
        )
    digest = run.notes[PAYLOAD]
    try:
        payload = artifacts.get(digest)
    except Corrupt as error:
        return Leaving(
            document={"sent": True, "payloadSHA256": digest, "bytes": run.figures.get("payloadBytes"), "asked": asked},
            reveals=[f"The bytes are no longer here ({error}); the ledger still names their hash."],
        )
    submission = Submission.decode(payload)
    size = _coordinates(run, task, artifacts)
    wished = None if submission.wish is None else count_bits(submission.wish, task.dimension, "wish")
    epsilon = privacy_of(run.figures).get("epsilon")
    document = {
        "sent": True,
        "to": f"{task.aggregator_url}/aggregator/submit-update",
        "bytes": len(payload),
        "payloadSHA256": hashlib.sha256(payload).hexdigest(),
        "receiptAt": run.figures.get("receivedAt"),
        "fields": {
            "header": submission.header.document,
            "signature": submission.signature,
            "ciphertext": f"{len(submission.ciphertext)} bytes",
            "wish": None if submission.wish is None else f"{len(submission.wish)} bytes",
        },
        "submissionHash": submission.header.submission_hash,
        "ciphertextHash": submission.header.ciphertext_hash,
        "scoreCommit": submission.header.score_commit,
        "coordinates": size,
        "ofDimension": task.dimension,
        "groups": task.groups(size),
        "support": "all coordinates" if task.support is None else task.support.hash,
        "wishedCoordinates": wished,
        "epsilon": epsilon,
        "asked": asked,
    }
    return Leaving(document=document, reveals=_reveals(task, size, wished, epsilon))


def show_privacy(home: Path, *, as_json: bool) -> None:
    """Prints what each identity's data sets have given away."""
    book = RunLedger.open(load(home))
    rows = [
        {
            "name": one.miner_name,
            "miner": one.miner,
            "dataset": one.dataset,
            "tasks": one.tasks,
            "submissions": one.submissions,
            "epsilon": one.epsilon,
            "delta": one.delta,
            "withoutEpsilon": one.without_epsilon,
            "maxEpsilon": book.cap(one.dataset),
        }
        for one in book.spent()
    ]
    book.close()
    if as_json:
        OUT.print(json.dumps({"composition": "basic", "dataSets": rows}), soft_wrap=True)
        return
    table = Table("identity", "data set", "tasks", "submissions", "epsilon", "delta", "cap", "without any bound")
    for row in rows:
        cap = "-" if row["maxEpsilon"] is None else f"{row['maxEpsilon']:g}"
        numbers = (f"{row['epsilon']:g}", f"{row['delta']:g}", cap, str(row["withoutEpsilon"]))
        table.add_row(*(str(row[name]) for name in ("name", "dataset", "tasks", "submissions")), *numbers)
    OUT.print(table)
    OUT.print(
        "epsilon and delta are summed plainly (basic composition): an upper bound, looser than what a better accountant "
        "would state.\nA submission without an epsilon was not differentially private: no number here bounds what it tells."
    )


def _reveals(task: Task, size: int, wished: int | None, epsilon: float | None) -> list[str]:
    level, scale = task.quantization.level, task.quantization.scale
    every_value = f"all {size} values of this one update (integers from -{level} to {level}, in steps of 1/{scale})"
    some = f"{task.min_miners} to {task.max_miners} participants"
    bounded = "What a sum says about samples, and what a malicious model could make it say, no encryption bounds"
    sentences = [
        f"Publisher and aggregator together can decrypt {every_value}. Neither can alone.",
        f"By the protocol they decrypt only the sum over {some}, and publish it.",
        "If all the other participants collude, they can subtract their parts from it and read yours.",
        "Anyone who reads the public header learns that this address took part in this task and round, and when.",
        "The aggregator's host also saw this host's network address.",
        "The score commitment tells nothing until you reveal it; the reveal, after publication, tells everyone the update's L2 norm.",
        f"No sample, label, count of samples or loss was sent. {bounded}: see docs/security.md.",
    ]
    if wished is not None:
        sentences.append(
            f"The wish tells the aggregator, and after publication everyone, which {wished} coordinates moved most in this training."
        )
    sentences.append(
        "This training states no epsilon: it was not differentially private."
        if epsilon is None
        else f"This training was differentially private with epsilon {epsilon:g}: a bound on what anyone can learn of one sample."
    )
    return sentences


def _asked(task: Task) -> list[str]:
    """Addresses that this host asked for the round's inputs."""
    model = task.model_url or f"IPFS {task.model_ipfs_hash}"
    parent = [] if task.parent_block_hash is None else [f"{task.aggregator_url} (block)"]
    return [model, *([] if task.support is None else [task.support.url]), *parent]


def _coordinates(run: Run, task: Task, artifacts: ArtifactStore) -> int:
    stated = run.figures.get("coordinates")
    if isinstance(stated, int):
        return stated
    if task.support is None:
        return task.dimension
    return count_bits(artifacts.get(run.artifacts["support"]), task.dimension, "support")


def _said_later(witness: WitnessLedger, run: Run) -> list[str]:
    """Votes and reveals of the run's miner for its round."""
    said = []
    for block in witness.blocks(run.task_id, run.round):
        votes = [vote for vote in witness.votes(block.block_hash) if vote.fields.miner == run.miner]
        said += [f"vote {vote.fields.verdict} on block {block.block_hash}" for vote in votes]
    said += [
        f"score {opened.score} with its nonce, to the {party}"
        for party, opened in witness.reveals(run.task_id, run.round)
        if opened.miner == run.miner
    ]
    return said
