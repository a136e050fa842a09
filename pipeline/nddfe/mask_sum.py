"""sum of rho_g * mask_g over g = 0 .. G, of one mask stream: a's two halves, R and S (docs/protocol.md, sections 5 and 6)."""

from collections.abc import Iterator

from pipeline.curve.contract import Kernel, Q
from pipeline.nddfe.keystream import masks, weights
from pipeline.protocol.encodings import sha256

#: Points that are worked on at once: it bounds the memory of masks, weights and points to some 10 MiB. A multiple of 8.
CHUNK = 65536


def weights_key(statement_hash: bytes) -> bytes:
    """Key of the keystream that the rho_g are words of width 16 of."""
    return sha256(b"ndd-fe/1 rho" + statement_hash)


def mask_sum(kernel: Kernel, stream: bytes, statement_hash: bytes, groups: int) -> int:
    """R (stream = K_tp) or S (K_agg) of one submission, mod q; G = `groups`, the blinding point's mask is in it."""
    rho = weights_key(statement_hash)
    parts = (
        kernel.dot(weights(rho, first, count), masks(kernel, stream, first, count))
        for first, count in chunks(groups + 1)
    )
    return sum(parts) % Q


def chunks(count: int) -> Iterator[tuple[int, int]]:
    """(first, size) of consecutive pieces of at most `CHUNK`."""
    return ((first, min(CHUNK, count - first)) for first in range(0, count, CHUNK))
