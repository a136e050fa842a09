import numpy as np
import pytest

from pipeline.errors import Misconfigured
from pipeline.stages.data import run
from tests.learning_jobs import make_job, make_settings, make_task, write_ward

FIGURES = {"architecture": {"name": "linear", "kwargs": {"in_features": 6, "num_classes": 3}}}


def test_a_sound_data_set_is_described_and_stays_out_of_the_store(tmp_path):
    write_ward(tmp_path / "data")
    job = make_job(tmp_path, make_task(), figures=FIGURES, settings=make_settings(tmp_path, validation_share=0.2))
    output = run(job)
    assert output.artifacts == {}
    assert not (tmp_path / "artifacts").exists()
    assert output.figures["samples"] + output.figures["held"] == 60
    assert output.figures["held"] > 0
    assert output.figures["classes"] == 3
    assert output.figures["shape"] == [6]
    assert len(output.figures["dataset"]) == 64
    assert run(job).figures == output.figures


def test_a_data_set_that_is_not_held_is_misconfigured(tmp_path):
    with pytest.raises(Misconfigured, match="data set 'ward': no folder"):
        run(make_job(tmp_path, make_task(), figures=FIGURES))


def test_a_class_outside_the_fetched_model_is_misconfigured(tmp_path):
    write_ward(tmp_path / "data")
    two = {"architecture": {"name": "linear", "kwargs": {"in_features": 6, "num_classes": 2}}}
    with pytest.raises(Misconfigured, match="the task's model has the classes 0 to 1"):
        run(make_job(tmp_path, make_task(), figures=two))


def test_samples_that_do_not_fit_the_fetched_model_are_misconfigured(tmp_path):
    write_ward(tmp_path / "data")
    for path in (tmp_path / "data" / "ward" / "images").iterdir():
        np.save(path, np.zeros(7, dtype=np.float32))
    with pytest.raises(Misconfigured, match="takes 6 values a sample, these have 7"):
        run(make_job(tmp_path, make_task(), figures=FIGURES))
