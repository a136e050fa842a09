import dataclasses
import itertools

import numpy as np
import pytest

from bench.learning_cases import PLANS, SMALL_PLANS, WORKLOADS, Plan
from bench.learning_data import Federation, deal, tumours
from bench.learning_parties import encrypted_sum, pack_of, plain_sum, task_of
from bench.learning_rules import Learner, Round, dense, ours, own_topk
from pipeline.curve.select import kernel
from pipeline.protocol.encodings import ceil_ratio
from pipeline.protocol.task import MAX_PACKED

WORKLOAD = WORKLOADS["tumours"]
PLAN = Plan(ratio=0.1, shares=(1.0, 0.1), scale=50, clip=0.06, rounds=3, target=0.5)


@pytest.fixture(scope="module")
def federation() -> Federation:
    x, y = tumours()
    return deal(x, y, miners=5, skewed=True, test=169, seed=1)


def measured(federation: Federation, plan: Plan = PLAN, *, every: bool = True) -> list[Round]:
    return list(ours(Learner(WORKLOAD, federation, 1), plan, kernel("reference"), every=every))


@pytest.mark.parametrize("skewed", [False, True])
def test_no_sample_is_dealt_out_twice(skewed: bool) -> None:
    x, y = tumours()
    dealt = deal(x, y, miners=20, skewed=skewed, test=169, seed=2)
    rows = np.concatenate([dealt.test.rows, *(miner.training.rows for miner in dealt.miners)])
    assert sorted(rows) == list(range(569))


def test_skewed_labels_are_further_from_the_mean_than_even_ones() -> None:
    x, y = tumours()

    def spread(skewed: bool) -> float:
        dealt = deal(x, y, miners=5, skewed=skewed, test=169, seed=2)
        return float(np.std([y[miner.training.rows].mean() for miner in dealt.miners]))

    assert spread(True) > 2 * spread(False)


def test_the_same_seed_deals_and_trains_the_same(federation: Federation) -> None:
    assert measured(federation) == measured(federation)


def test_all_rules_begin_with_the_same_model_and_the_same_training(federation: Federation) -> None:
    one, two = (next(Learner(WORKLOAD, federation, 1).deltas(1)) for _ in range(2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, next(Learner(WORKLOAD, federation, 2).deltas(1)))


def test_a_decrypted_sum_is_the_plain_one(federation: Federation) -> None:
    d = 2114
    task = task_of(PLAN, 1, 5, d, None)
    rng = np.random.default_rng(1)
    values = [rng.integers(-task.level, task.level + 1, d, dtype=np.int32) for _ in range(5)]
    wishes = [bytes(265)] * 5
    assert np.array_equal(plain_sum(task, values), np.sum(values, axis=0))
    assert np.array_equal(encrypted_sum(task, values, wishes, kernel("reference")).values, np.sum(values, axis=0))


def test_rounds_whose_sum_is_not_decrypted_go_the_same_way(federation: Federation) -> None:
    plan = dataclasses.replace(PLAN, rounds=4)
    every, sample = measured(federation, plan), measured(federation, plan, every=False)
    assert [each.encrypted for each in sample] == [True, True, False, True]
    assert [each.accuracy for each in every] == [each.accuracy for each in sample]
    # Header and signature are the same but for the digits of the round and of the key.
    assert all(abs(a.bytes_sent - b.bytes_sent) < 8 for a, b in zip(every, sample, strict=True))


def test_a_small_share_sends_less_than_all(federation: Federation) -> None:
    first, second, _ = measured(federation)
    assert second.bytes_sent < first.bytes_sent / 2


def test_all_coordinates_in_fine_steps_learn_as_dense_fedavg_does(federation: Federation) -> None:
    fine = Plan(ratio=1.0, shares=(1.0,), scale=2**20, clip=1.0, rounds=3, target=0.5)
    a, b = Learner(WORKLOAD, federation, 1), Learner(WORKLOAD, federation, 1)
    list(ours(a, fine, kernel("reference"), every=False))
    list(dense(b, 3))
    assert np.abs(a.weights - b.weights).max() < 1e-5


def test_own_topk_of_everything_is_dense_fedavg(federation: Federation) -> None:
    a, b = Learner(WORKLOAD, federation, 1), Learner(WORKLOAD, federation, 1)
    list(own_topk(a, dataclasses.replace(PLAN, shares=(1.0,))))
    list(dense(b, 3))
    assert np.allclose(a.weights, b.weights, atol=1e-6)


def test_own_topk_changes_only_what_two_miners_name(federation: Federation) -> None:
    learner = Learner(WORKLOAD, federation, 1)
    before = learner.weights
    next(own_topk(learner, dataclasses.replace(PLAN, shares=(0.1,))))
    changed = np.count_nonzero(learner.weights != before)
    assert 0 < changed <= 5 * ceil_ratio(0.1, len(before)) // 2


@pytest.mark.parametrize(("plan", "miners"), list(itertools.product((*PLANS, *SMALL_PLANS), (5, 20))))
def test_every_plan_makes_a_task_that_the_protocol_takes(plan: Plan, miners: int) -> None:
    task = task_of(plan, 1, miners, 2114, None)
    assert task.base ** pack_of(miners, task.level) <= MAX_PACKED
    assert plan.shares[0] == 1
    assert plan.share(plan.rounds) == plan.ratio
