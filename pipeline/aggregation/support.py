"""The next round's support (PROTOCOL.md section 8): the coordinates that most participants wish for."""

import struct
from collections.abc import Sequence

import numpy as np

from pipeline.nddfe.keystream import words4
from pipeline.protocol.encodings import PROTOCOL, bitmap_from_indices, ceil_ratio, sha256


def next_support(task_id: str, next_round: int, dimension: int, ratio: float, wishes: Sequence[bytes | None]) -> bytes:
    """Bitmap of the ceil(ratio * d) coordinates with most votes.

    Ties go to the smaller word j of width 4 of a public keystream, then to the smaller j: nobody can steer them by wishing.
    """
    votes = np.zeros(dimension, dtype=np.int32)
    for wish in wishes:
        if wish is not None:
            votes += np.unpackbits(np.frombuffer(wish, dtype=np.uint8), bitorder="little")[:dimension]
    name = task_id.encode()
    label = PROTOCOL.encode() + b" support" + struct.pack(">H", len(name)) + name + struct.pack(">Q", next_round)
    lots = words4(sha256(label), 0, dimension)
    order = np.lexsort((lots, -votes))
    return bitmap_from_indices(order[: ceil_ratio(ratio, dimension)], dimension)
