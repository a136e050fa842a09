"""The vectors of tests/vectors, read once, in the forms that tests want."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.protocol.signing import SecretKey
from pipeline.protocol.submission import Header, Submission
from pipeline.protocol.task import Task

_FOLDER = Path(__file__).parent / "vectors"


@cache
def good() -> dict[str, Any]:
    return json.loads((_FOLDER / "ndd_fe_1.json").read_text())


@cache
def bad() -> dict[str, Any]:
    return json.loads((_FOLDER / "ndd_fe_1_bad.json").read_text())


CASES: list[dict[str, Any]] = good()["cases"]
NAMES: list[str] = [case["name"] for case in CASES]
#: Every miner of every case, for tests of one submission.
MINERS = [(case, miner) for case in CASES for miner in case["miners"]]
MINER_NAMES = [f"{case['name']}-{i}" for case in CASES for i in range(len(case["miners"]))]


def case_named(name: str) -> dict[str, Any]:
    return next(case for case in CASES if case["name"] == name)


def raw(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def maybe_raw(text: str | None) -> bytes | None:
    return None if text is None else raw(text)


def secret(text: str) -> SecretKey:
    return SecretKey(raw(text))


def task_of(case: dict[str, Any]) -> Task:
    return Task.from_document(case["task"])


def submission_of(miner: dict[str, Any]) -> Submission:
    return Submission(
        header=Header.from_document(miner["header"]),
        signature=miner["signature"],
        ciphertext=raw(miner["ciphertext"]),
        wish=maybe_raw(miner["wish"]),
    )


def submissions_of(case: dict[str, Any]) -> list[Submission]:
    return [submission_of(miner) for miner in case["miners"]]


def support_size(case: dict[str, Any]) -> int:
    return len(case["aggregate"])


def groups_of(case: dict[str, Any], miner: dict[str, Any]) -> list[int]:
    """What the miner really encrypts: in `overflow` one adds 10^9 to its group 1, which no honest sum reaches."""
    groups = list(miner["packed"])
    if case["name"] == "overflow" and miner is case["miners"][1]:
        groups[1] += 10**9
    return groups
