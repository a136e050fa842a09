"""The proof of encryption: Schnorr on a random combination of the ciphertext's points (docs/protocol.md, section 5).

Legend: h0 the statement's hash; rho the weights; V = sum rho_g U_g = a*pk_TP + b*H; a = sum rho_g (r_g + s_g);
b = sum rho_g m_g; T = beta*H; chi the challenge; z = beta + chi*b.
"""

from collections.abc import Iterable

import numpy as np

from pipeline.curve.arrays import point33_from_point, point_from_point33, words_from_ints
from pipeline.curve.contract import Kernel, Points, Q
from pipeline.curve.generators import H
from pipeline.errors import BadProof, Malformed
from pipeline.nddfe.keystream import weights
from pipeline.nddfe.mask_sum import weights_key
from pipeline.protocol.encodings import sha256
from pipeline.protocol.submission import Proof


def prove(kernel: Kernel, publisher_key: bytes, statement_hash: bytes, a: int, b: int, beta: int) -> Proof:
    """Proves knowledge of b. The prover knows a and b, so V costs two multiplications, not one a point."""
    V = kernel.weighted_sum(np.concatenate([_times(kernel, publisher_key, a), _times(kernel, H, b)]), _ones(2))
    T = point33_from_point(_times(kernel, H, beta))
    chi = _challenge(statement_hash, point33_from_point(V), a, T)
    return Proof(t=T, a=a, z=(beta + chi * b) % Q)


def verify(kernel: Kernel, publisher_key: bytes, statement_hash: bytes, pieces: Iterable[Points], proof: Proof) -> None:
    """Checks z*H == T + chi*(V - a*pk_TP) over all G + 1 points, which come in order, a piece at a time. Raises BadProof."""
    V = _combination(kernel, statement_hash, pieces)
    try:
        chi = _challenge(statement_hash, point33_from_point(V), proof.a, proof.t)
    except Malformed:
        raise BadProof("proof of encryption: the points cancel out to infinity") from None
    known = kernel.unmask([V], publisher_key, words_from_ints([proof.a], 4))
    right = [point_from_point33(proof.t)]
    if known.any():
        right.append(_times(kernel, point33_from_point(known), chi))
    expected = kernel.weighted_sum(np.concatenate(right), _ones(len(right)))
    if not np.array_equal(_times(kernel, H, proof.z), expected):
        raise BadProof("proof of encryption fails: the sender does not know what these points encrypt")


def _combination(kernel: Kernel, statement_hash: bytes, pieces: Iterable[Points]) -> Points:
    """V, shape [1, 8]; infinity possible."""
    rho, first, parts = weights_key(statement_hash), 0, []
    for points in pieces:
        parts.append(kernel.weighted_sum(points, weights(rho, first, len(points))))
        first += len(points)
    return kernel.weighted_sum(np.concatenate(parts), _ones(len(parts)))


def _challenge(statement_hash: bytes, V: bytes, a: int, T: bytes) -> int:
    return int.from_bytes(sha256(b"ndd-fe/1 pok" + statement_hash + V + a.to_bytes(32, "big") + T), "big") % Q


def _times(kernel: Kernel, base: bytes, scalar: int) -> Points:
    return kernel.encrypt(base, words_from_ints([scalar], 4), np.zeros(1, dtype=np.int64))


def _ones(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
    return words_from_ints([1] * count, 2)
