"""The bench's short way and the fleet's seven stages make the same integers of the same training."""

import numpy as np
import pytest

from bench.learning_parties import plain_sum
from pipeline.aggregation.decrypt import aggregate
from pipeline.aggregation.function_key import build_request, issue_key, own_stream_key
from pipeline.curve.select import kernel
from pipeline.learning.compression import compress, wish
from pipeline.nddfe.ciphertext import Ciphertext
from pipeline.run import run_round
from pipeline.stages.contract import Job
from tests.pipeline.test_run import Parties
from tests.pipeline.test_run import jobs as jobs
from tests.pipeline.test_run import parties as parties
from tests.signed_tasks import AGGREGATOR, PUBLISHER

# A federation over HTTP, three trainings, and the curve kernel's compilation where no cache has it.
pytestmark = pytest.mark.slow


def test_what_run_round_sends_adds_up_to_the_benchs_plain_sum(parties: Parties, jobs: list[Job]) -> None:
    task, store, values = jobs[0].task, jobs[0].artifacts, []
    for job in jobs:
        done = run_round(job)
        delta = np.array(store.get_array(done.inputs["delta"]))
        made = compress(delta, None, None, scale=task.quantization.scale, clip=task.quantization.clip)
        assert np.array_equal(made.values, store.get_array(done.inputs["values"]))
        assert wish(made.residual, delta, task.ratio) == store.get(done.inputs["wish"])
        values.append(made.values)

    groups = task.groups(task.dimension)
    request = build_request(task, parties.taken, AGGREGATOR, groups, kernel())
    key = issue_key(task, request, PUBLISHER, groups, kernel())
    points = [Ciphertext(one.ciphertext, groups + 1) for one in parties.taken]
    streams = [own_stream_key("agg", task, one.header, AGGREGATOR) for one in parties.taken]
    result = aggregate(task, task.dimension, points, streams, key, kernel())
    assert np.array_equal(result.values, plain_sum(task, values))
