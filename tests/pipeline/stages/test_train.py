import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.errors import Corrupt, Misconfigured
from pipeline.learning.models.architectures import build
from pipeline.learning.models.model_file import write_model
from pipeline.stages import data, train
from tests.learning_jobs import make_job, make_settings, make_task, write_ward


@pytest.fixture
def job_for(tmp_path):
    """Makes a job whose data were looked at and whose model is in the store."""
    write_ward(tmp_path / "data")
    threads = torch.get_num_threads()

    def make(*, task=None, inputs=None, **settings):
        task = task or make_task()
        torch.manual_seed(0)
        model = write_model(build(task.architecture).state_dict(), task.architecture)
        job = make_job(
            tmp_path,
            task,
            figures={"architecture": {"name": "linear", "kwargs": task.architecture.kwargs}},
            settings=make_settings(tmp_path, validation_share=0.2, device="cpu", **settings),
        )
        noted = []
        job = make_job(
            tmp_path,
            task,
            settings=job.settings,
            figures={**job.figures, **data.run(job).figures},
            inputs={"model": job.artifacts.put(model), **(inputs or {})},
            note=lambda name, digest: noted.append((name, digest)),
        )
        return job, noted

    yield make
    torch.set_num_threads(threads)


def test_a_training_gives_delta_and_figures(job_for):
    job, _ = job_for()
    output = train.run(job)
    delta = job.artifacts.get_array(output.artifacts["delta"])
    assert delta.dtype == np.float32
    assert delta.shape == (21,)
    assert delta.any()
    figures = output.figures
    assert figures["epochs"] == len(figures["losses"]) == 3
    assert figures["losses"][-1] < figures["losses"][0]
    assert figures["accuracy"] > 0.9
    assert figures["device"] == "cpu"
    assert figures["limited"] == []


def test_two_runs_are_never_alike_without_a_seed(job_for):
    job, _ = job_for()
    assert train.run(job).artifacts != train.run(job).artifacts
    seeded, _ = job_for(training_seed=1)
    assert train.run(seeded).artifacts == train.run(seeded).artifacts


def test_checkpoints_are_noted_and_old_ones_deleted(job_for):
    job, noted = job_for()
    train.run(job)
    assert [name for name, _ in noted] == ["checkpoint", "checkpoint"]
    assert [job.artifacts.exists(digest) for _, digest in noted] == [False, True]


def test_a_killed_training_goes_on_from_its_checkpoint(job_for):
    job, noted = job_for(training_seed=1)
    whole = train.run(job)
    seen = []
    again, _ = job_for(training_seed=1, inputs={"checkpoint": noted[-1][1]})
    assert train.run(replace(again, report=seen.append)).artifacts == whole.artifacts
    assert [progress["epoch"] for progress in seen if progress["epoch"] == 3] == [3]
    assert min(progress["epoch"] for progress in seen) >= 2


def test_a_checkpoint_that_is_gone_means_a_new_start(job_for):
    job, _ = job_for(inputs={"checkpoint": "c" * 64})
    assert train.run(job).figures["epochs"] == 3


def test_a_checkpoint_that_is_none_is_corrupt(job_for):
    job, _ = job_for()
    broken, _ = job_for(inputs={"checkpoint": job.artifacts.put(b"none")})
    with pytest.raises(Corrupt, match="checkpoint"):
        train.run(broken)


def test_data_that_changed_since_they_were_looked_at_are_refused(job_for, tmp_path):
    job, _ = job_for()
    np.save(tmp_path / "data" / "ward" / "images" / "sample_0000.npy", np.zeros(6, dtype=np.float32))
    with pytest.raises(Misconfigured, match="was changed meanwhile, or this host holds another copy"):
        train.run(job)


def test_the_operators_limits_show_in_the_figures(job_for):
    job, _ = job_for(max_epochs=1)
    figures = train.run(job).figures
    assert figures["epochs"] == 1
    assert figures["limited"] == ["3 epochs asked for, 1 done (FLFLEET_MAX_EPOCHS)"]


def test_the_processes_of_a_pool_share_the_cores():
    cores = len(os.sched_getaffinity(0))
    assert train.threads(1) == max(1, cores - 1)
    assert train.threads(cores) == 1
    assert train.threads(10 * cores) == 1
