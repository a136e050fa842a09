"""Five miners over real digits, through every learning step of the fleet but the encryption: sums are plain."""

import numpy as np
import pytest
import torch

from pipeline.learning.compression import compress, wish
from pipeline.learning.data.datasets import open_dataset
from pipeline.learning.data.digits import write_digits
from pipeline.learning.evaluation import accuracy
from pipeline.learning.models.architectures import build
from pipeline.learning.models.checkpoints import flatten, with_flat
from pipeline.learning.training import Limits, train
from pipeline.learning.update import apply_update
from pipeline.protocol.encodings import ceil_ratio, indices_from_bitmap
from pipeline.protocol.task import Architecture, Training

CNN = Architecture(name="cnn")
MINERS, SCALE, CLIP, RATIO = 5, 50, 0.06, 0.25
LIMITS = Limits(max_epochs=5, max_batch_size=16, max_seconds=60)
TRAINING = Training(epochs=5, batch_size=16, learning_rate=0.1)


@pytest.fixture
def one_thread():
    """Small convolutions gain nothing from more, and lose much on a busy machine."""
    before = torch.get_num_threads()
    yield 1
    torch.set_num_threads(before)


def test_three_rounds_reach_ninety_percent_on_digits_that_nobody_trained_on(tmp_path, one_thread):
    names = [f"miner-{number}" for number in range(MINERS)]
    write_digits(tmp_path, names=names, per_part=800, validation=tmp_path / "v", validation_size=1000)
    folders = [tmp_path / name for name in names]
    opened = [open_dataset(each, "mnist", tmp_path, architecture=CNN, validation_share=0.0) for each in folders]
    validation = open_dataset(tmp_path / "v", "mnist", tmp_path, architecture=CNN, validation_share=0.0).everything
    torch.manual_seed(0)
    state = build(CNN).state_dict()
    residuals = [np.zeros(flatten(state).size, dtype=np.float32)] * MINERS
    support, reached = None, []

    for round_number in range(3):
        sums, votes = 0, np.zeros(len(residuals[0]))
        for miner, dataset in enumerate(opened):
            module = build(CNN)
            module.load_state_dict(state)
            seed = 10 * round_number + miner
            delta = train(
                module, dataset, TRAINING, LIMITS, device=torch.device("cpu"), seed=seed, threads=one_thread
            ).delta
            sent = compress(delta, residuals[miner], support, scale=SCALE, clip=CLIP)
            residuals[miner] = sent.residual
            sums = sums + sent.values.astype(np.int64)
            votes[indices_from_bitmap(wish(sent.residual, delta, RATIO), len(votes))] += 1
        state = with_flat(state, apply_update(flatten(state), sums, support, MINERS, SCALE))
        support = np.sort(np.argsort(-votes, kind="stable")[: ceil_ratio(RATIO, len(votes))])
        module.load_state_dict(state)
        reached.append(accuracy(module, validation))

    assert reached[-1] >= 0.9
    assert reached[0] > 0.5
