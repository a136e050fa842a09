import pytest

from pipeline.nddfe.context import context_of, stream_key
from tests.known_answers import MINER_NAMES, MINERS, raw, secret, task_of


@pytest.mark.parametrize(("case", "miner"), MINERS, ids=MINER_NAMES)
def test_context_and_stream_keys_are_the_known_ones_from_either_end(case, miner):
    task, e, me = task_of(case), secret(miner["ephemeralSecret"]), secret(miner["secretKey"])
    context = context_of(task, me.point33, e.point33)
    assert context == raw(miner["context"])
    for party, owner, expected in (
        ("tp", "publisherSecretKey", "tpStreamKey"),
        ("agg", "aggregatorSecretKey", "aggStreamKey"),
    ):
        key = secret(case[owner])
        assert stream_key(party, e.shared_point33(key.point33), context) == raw(miner[expected])
        assert stream_key(party, key.shared_point33(e.point33), context) == raw(miner[expected])
