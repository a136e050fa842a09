"""The known answers in tests/vectors, read once."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.curve.contract import Points
from pipeline.nddfe.encryption import Randomness
from pipeline.protocol.encodings import from_hex, indices_from_bitmap
from pipeline.protocol.function_key import SignedHeader
from pipeline.protocol.signing import SecretKey
from pipeline.protocol.submission import Header, Submission
from pipeline.protocol.task import Task

_FOLDER = Path(__file__).parent / "vectors"
CASES = ("dense", "packed", "pair", "overflow", "many")


class Case:
    """One round of ndd_fe_1.json."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.task = Task.from_document(document["task"])
        self.publisher = SecretKey(from_hex(document["publisherSecretKey"]))
        self.aggregator = SecretKey(from_hex(document["aggregatorSecretKey"]))
        self.miners: list[dict[str, Any]] = document["miners"]

    @property
    def support(self) -> NDArray[np.int64]:
        """The round's coordinates, ascending."""
        bitmap = self.document["support"]
        if bitmap is None:
            return np.arange(self.task.dimension)
        return indices_from_bitmap(from_hex(bitmap), self.task.dimension)

    @property
    def groups(self) -> int:
        return self.task.groups(len(self.support))

    @property
    def headers(self) -> list[SignedHeader]:
        return [
            SignedHeader(header=Header.from_document(miner["header"]), signature=miner["signature"])
            for miner in self.miners
        ]

    def submission(self, miner: dict[str, Any]) -> Submission:
        wish = None if miner["wish"] is None else from_hex(miner["wish"])
        header = Header.from_document(miner["header"])
        return Submission(
            header=header, signature=miner["signature"], ciphertext=from_hex(miner["ciphertext"]), wish=wish
        )

    def points(self, miner: dict[str, Any]) -> Points:
        from pipeline.curve.reference import ReferenceKernel

        return ReferenceKernel().read_points32(from_hex(miner["ciphertext"]), self.groups + 1)


def randomness(miner: dict[str, Any]) -> Randomness:
    """What the vector's miner drew."""
    return Randomness(
        ephemeral=SecretKey(from_hex(miner["ephemeralSecret"])),
        blinding=int(miner["blindingValue"], 16),
        beta=int(miner["beta"], 16),
    )


@lru_cache
def case(name: str) -> Case:
    """A round by name."""
    document = json.loads((_FOLDER / "ndd_fe_1.json").read_text())
    return Case(next(entry for entry in document["cases"] if entry["name"] == name))


@lru_cache
def refused() -> dict[str, Any]:
    """ndd_fe_1_bad.json."""
    document: dict[str, Any] = json.loads((_FOLDER / "ndd_fe_1_bad.json").read_text())
    return document
