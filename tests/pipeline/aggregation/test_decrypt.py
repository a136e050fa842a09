import numpy as np
import pytest

from pipeline.aggregation.aggregator.slicing import cut
from pipeline.aggregation.collect import check_submission
from pipeline.aggregation.decrypt import aggregate, aggregate_slice
from pipeline.aggregation.function_key import own_stream_key
from pipeline.curve.select import kernel
from pipeline.nddfe.ciphertext import Ciphertext
from pipeline.protocol.encodings import indices_from_bitmap
from pipeline.protocol.function_key import FunctionKey
from tests.known_answers import CASES, NAMES, case_named, raw, secret, submissions_of, support_size, task_of

K = kernel("reference")


def inputs(case):
    task, size, submissions = task_of(case), support_size(case), submissions_of(case)
    points = [check_submission(task, one, size, K) for one in submissions]
    own = secret(case["aggregatorSecretKey"])
    streams = [own_stream_key("agg", task, one.header, own) for one in submissions]
    key = FunctionKey(key=b"".join(raw(word) for word in case["functionKey"]), signature="")
    return task, size, points, streams, key


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_sum_is_the_known_one(case):
    result = aggregate(*inputs(case), K)
    assert result.values.dtype == np.int64
    assert result.values.tolist() == case["aggregate"]
    assert result.dropped == case["dropped"]
    assert result.mask_sums == b"".join(raw(word) for word in case["maskSums"])


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_the_known_sum_gives_the_known_model(case):
    task, X = task_of(case), aggregate(*inputs(case), K).values
    old = np.array(case["oldModel"], dtype=np.float32)
    support = np.arange(task.dimension)
    if case["support"] is not None:
        support = indices_from_bitmap(raw(case["support"]), task.dimension)
    new = old.copy()
    step = X.astype(np.float64) / (len(case["miners"]) * task.quantization.scale)
    new[support] = (old[support].astype(np.float64) - step).astype(np.float32)
    assert new.tolist() == case["newModel"]


@pytest.mark.parametrize("size", [1, 7, 10**6])
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_slices_of_any_size_make_the_sum_of_the_whole(case, size):
    task, coordinates, points, streams, key = inputs(case)
    parts = [
        aggregate_slice(task, coordinates, points, streams, memoryview(key.key), K, groups)
        for groups in cut(task.groups(coordinates), size)
    ]
    assert [value for part in parts for value in part.values.tolist()] == case["aggregate"]
    assert [group for part in parts for group in part.dropped] == case["dropped"]
    assert b"".join(part.mask_sums for part in parts) == b"".join(raw(word) for word in case["maskSums"])


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_pieces_join_without_a_seam(case, monkeypatch):
    monkeypatch.setattr("pipeline.nddfe.mask_sum.CHUNK", 3)
    result = aggregate(*inputs(case), K)
    assert result.values.tolist() == case["aggregate"]
    assert result.dropped == case["dropped"]


def test_hostile_points_drop_their_own_group_alone():
    case = case_named("packed")
    task, size, points, streams, key = inputs(case)
    other = points[0].read(K, 0, len(points[0]))
    other[2:4] = points[1].read(K, 4, 2)
    hostile = Ciphertext(K.write_points32(other), len(other))
    result = aggregate(task, size, [hostile, *points[1:]], streams, key, K)
    expected = np.array(case["aggregate"])
    expected[10:20] = 0
    assert result.dropped == [2, 3]
    assert result.values.tolist() == expected.tolist()


def test_inputs_that_do_not_belong_together_are_refused():
    task, size, points, streams, key = inputs(case_named("pair"))
    with pytest.raises(ValueError, match="3 submissions, but 2 mask streams"):
        aggregate(task, size, points, streams[:2], key, K)
    with pytest.raises(ValueError, match="must have 3 points"):
        aggregate(task, size, [Ciphertext(bytes(33), 1), *points[1:]], streams, key, K)
