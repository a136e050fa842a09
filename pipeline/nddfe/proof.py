"""The proof of encryption (PROTOCOL.md section 5): Schnorr on a random combination of a submission's points.

Legend: rho_g weights from the statement's hash h0; V = sum rho_g U_g; a = sum rho_g (r_g + s_g); b = sum rho_g m_g;
T = beta*H; chi the challenge; z = beta + chi*b. Whoever can make z for V and a knows what it encrypted.
"""

from pipeline.curve.contract import Kernel, Points, Q, Weights
from pipeline.curve.generators import H33
from pipeline.curve.points import add33, multiply33, point33_of
from pipeline.curve.words import weights_from_stream
from pipeline.errors import BadProof
from pipeline.nddfe.streams import words
from pipeline.protocol.encodings import PROTOCOL, sha256
from pipeline.protocol.submission import Proof

WEIGHT_BYTES = 16


def weights(statement_hash: bytes, start: int, count: int) -> Weights:
    """rho_start .. rho_(start+count-1): uint64[count, 2]."""
    key = sha256(PROTOCOL.encode() + b" rho" + statement_hash)
    return weights_from_stream(words(key, WEIGHT_BYTES, start, count))


def prove(statement_hash: bytes, points: Points, mask_sum: int, value_sum: int, beta: int, kernel: Kernel) -> Proof:
    """Makes the proof for all G + 1 points. `mask_sum` = a and `value_sum` = b, below q; `beta` fresh in 1 .. q-1."""
    combined = kernel.weighted_sum(points, weights(statement_hash, 0, len(points)))
    t = multiply33(H33, beta)
    assert t is not None, "beta is from 1 to q-1"
    chi = _challenge(statement_hash, point33_of(combined), mask_sum, t)
    return Proof(t=t, a=mask_sum, z=(beta + chi * value_sum) % Q)


def verify(statement_hash: bytes, points: Points, proof: Proof, publisher_key: bytes, kernel: Kernel) -> None:
    """Checks z*H == T + chi*(V - a*pk_TP). Raises BadProof."""
    combined = kernel.weighted_sum(points, weights(statement_hash, 0, len(points)))
    if not combined.any():
        raise BadProof("proof of encryption fails: the points add up to infinity")
    v = point33_of(combined)
    chi = _challenge(statement_hash, v, proof.a, proof.t)
    carried = add33(v, multiply33(publisher_key, -proof.a % Q))
    if multiply33(H33, proof.z) != add33(proof.t, multiply33(carried, chi)):
        raise BadProof(
            "proof of encryption fails: the sender does not know what it encrypted, or the points were altered"
        )


def _challenge(statement_hash: bytes, v: bytes, a: int, t: bytes) -> int:
    digest = sha256(PROTOCOL.encode() + b" pok" + statement_hash + v + a.to_bytes(32, "big") + t)
    return int.from_bytes(digest, "big") % Q
