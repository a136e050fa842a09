"""One miner's whole round in process, on one page: what the fleet spreads over seven pools. Also the tests' oracle."""

from dataclasses import replace

from pipeline.stages import commit, compress, data, encrypt, fetch, submit, train
from pipeline.stages.contract import Job, Output


def run_round(job: Job) -> Job:
    """Takes a task from its model to the aggregator's receipt.

    `job` holds the task, the identity, its secret key, a store and the settings. Returns it with every stage's artifacts
    among its inputs (`receipt` is the last) and every stage's figures. Raises whatever a stage raises.
    """
    # The miner asks the backend for the task's model, the publisher for the round's support and the aggregator for the block
    # before, and believes none of them: each is checked against a hash in the signed task.
    job = _after(job, fetch.run(job))

    # The miner looks at its own data. They stay where they are; only a digest goes on.
    job = _after(job, data.run(job))

    # It trains from the task's model: delta = w_old - w_new, d floats.
    job = _after(job, train.run(job))

    # On the round's support, delta and what earlier rounds left behind become k small integers x. What does not fit is the
    # next residual; a wish says where the next support should be.
    job = _after(job, compress.run(job))

    # The norm of x is committed to before anybody sees it. The opening is on the disk before the commitment leaves.
    job = _after(job, commit.run(job))

    # U_g = (r_g + s_g) * pk_TP + m_g * H: publisher and aggregator each know one half of the masks. A proof shows that the
    # masks are the right ones. The key of this submission is forgotten here.
    job = _after(job, encrypt.run(job))

    # The header is signed, the bytes are stored, and the same bytes are sent until the aggregator's receipt is in.
    return _after(job, submit.run(job))


def _after(job: Job, output: Output) -> Job:
    return replace(job, inputs={**job.inputs, **output.artifacts}, figures={**job.figures, **output.figures})
