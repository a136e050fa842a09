from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import pytest

from bench.compress import peak
from pipeline.curve.contract import Q
from pipeline.curve.select import kernel
from pipeline.nddfe import encrypt as module
from pipeline.nddfe.encrypt import Randomness, encrypt
from pipeline.nddfe.mask_sum import mask_sum
from pipeline.nddfe.packing import Packed, pack
from pipeline.protocol.encodings import to_hex
from pipeline.protocol.submission import Header, points32_size
from tests.known_answers import MINER_NAMES, MINERS, groups_of, maybe_raw, raw, secret, support_size, task_of
from tests.signed_tasks import MINERS as KEYS
from tests.signed_tasks import make_task


def encrypt_again(case, miner):
    return encrypt(
        kernel("reference"),
        task_of(case),
        secret(miner["secretKey"]).point33,
        np.array(groups_of(case, miner), dtype=np.int64),
        score_commit=raw(miner["header"]["scoreCommit"]),
        wish=maybe_raw(miner["wish"]),
        randomness=Randomness(
            ephemeral=int(miner["ephemeralSecret"], 16),
            blinding=int(miner["blindingValue"], 16),
            beta=int(miner["beta"], 16),
        ),
    )


@pytest.mark.parametrize(("case", "miner"), MINERS, ids=MINER_NAMES)
def test_the_same_randomness_gives_the_known_ciphertext_and_header(case, miner):
    made = encrypt_again(case, miner)
    assert to_hex(made.ciphertext) == miner["ciphertext"]
    assert to_hex(Header.from_document(made.header).statement_hash) == miner["statementHash"]
    assert made.header == miner["header"]
    me = secret(miner["secretKey"])
    assert me.sign("submission", made.header) == miner["signature"]
    assert Header.from_document(made.header).submission_hash == miner["submissionHash"]


def test_pieces_join_without_a_seam(monkeypatch):
    case, miner = MINERS[0]
    monkeypatch.setattr("pipeline.nddfe.mask_sum.CHUNK", 8)
    assert to_hex(encrypt_again(case, miner).ciphertext) == miner["ciphertext"]
    assert encrypt_again(case, miner).header == miner["header"]


@pytest.mark.parametrize(("case", "miner"), MINERS, ids=MINER_NAMES)
def test_a_is_the_sum_of_both_halves_of_the_masks(case, miner):
    groups, h0 = task_of(case).groups(support_size(case)), raw(miner["statementHash"])
    halves = [mask_sum(kernel("reference"), raw(miner[name]), h0, groups) for name in ("tpStreamKey", "aggStreamKey")]
    assert sum(halves) % Q == int(miner["header"]["proof"]["a"], 16)


def test_fresh_randomness_is_fresh_and_never_shown():
    one, other = Randomness.fresh(), Randomness.fresh()
    assert len({one.ephemeral, one.blinding, one.beta, other.ephemeral, other.blinding, other.beta}) == 6
    assert str(one.ephemeral) not in repr(one)


def test_randomness_is_drawn_from_1_to_q_minus_1(monkeypatch):
    asked = []
    monkeypatch.setattr(module.secrets, "randbelow", lambda below: asked.append(below) or 0)
    assert Randomness.fresh().ephemeral == 1
    assert asked == [Q - 1] * 3


def test_a_large_update_takes_no_more_memory_than_a_small_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its integers mapped from disk, its points on their way to it. Many chunks of few points: the reference takes its time, and has no tables that grow with use."""
    monkeypatch.setattr("pipeline.nddfe.mask_sum.CHUNK", 2**7)
    monkeypatch.setattr("pipeline.protocol.file_bytes.PIECE", 2**12)
    peaks = []
    for count in (2**7, 2**10, 2**13):  # the first one loads what a process loads once
        np.save(tmp_path / "values.npy", np.random.default_rng(1).integers(-3, 4, count, dtype=np.int32))
        values = np.load(tmp_path / "values.npy", mmap_mode="r")
        task = make_task(dimension=count, quantization={"scale": 50, "clip": 0.06, "pack": 1})

        def work(task=task, values=values) -> None:
            with TemporaryFile() as file:
                encrypt(
                    kernel("reference"),
                    task,
                    KEYS[0].point33,
                    Packed(values, task.base, 1),
                    score_commit=bytes(32),
                    wish=None,
                    randomness=Randomness.fresh(),
                    into=file,
                )
                assert file.seek(0, 2) == points32_size(len(values) + 1)

        peaks.append(peak(work))
    assert peaks[2] < 1.1 * peaks[1]


@pytest.mark.parametrize("pack_size", [1, 3])
def test_groups_that_are_packed_as_they_are_asked_for_are_those_of_the_whole(pack_size: int) -> None:
    values = np.random.default_rng(1).integers(-3, 4, 100)
    whole, lazy = pack(values, 31, pack_size), Packed(values, 31, pack_size)
    assert len(lazy) == len(whole)
    assert lazy[7:20].tolist() == whole[7:20].tolist()
    assert lazy[20:200].tolist() == whole[20:].tolist()
