import json
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pipeline.errors import Misconfigured
from pipeline.learning.data.datasets import every_fault, held_back, open_dataset
from pipeline.protocol.task import Architecture

LINEAR = Architecture(name="linear", kwargs={"in_features": 12, "num_classes": 3})


@pytest.fixture
def folder(tmp_path):
    """A small sound data set of six grey 3x4 images."""
    folder = tmp_path / "data" / "ward"
    (folder / "images").mkdir(parents=True)
    for number in range(6):
        np.save(folder / "images" / f"sample_{number}.npy", np.full((3, 4), 51 * number, dtype=np.uint8))
    label(folder, {f"sample_{number}": number % 3 for number in range(6)})
    return folder


def label(folder, labels):
    (folder / "labels.json").write_text(labels if isinstance(labels, str) else json.dumps(labels))


def opened(folder, *, architecture=LINEAR, share=0.0):
    cache = folder.parent.parent / "cache"
    return open_dataset(folder.parent, folder.name, cache, architecture=architecture, validation_share=share)


def replace(folder, array, name="sample_3"):
    np.save(folder / "images" / f"{name}.npy", array)


def replace_all(folder, make):
    for number in range(6):
        np.save(folder / "images" / f"sample_{number}.npy", make(number))


def test_a_sound_data_set_is_normalised_and_mapped(folder):
    dataset = opened(folder)
    assert dataset.shape == (1, 3, 4)
    assert dataset.classes == 3
    assert len(dataset.training) == 6
    assert isinstance(dataset.training.x, np.memmap)
    x, y = dataset.training.take(np.array([5, 1]))
    assert x[:, 0, 0, 0].tolist() == [1.0, np.float32(0.2)]
    assert x.dtype == np.float32
    assert y.tolist() == [2, 1]


def test_the_digest_follows_names_labels_contents_and_description(folder):
    seen = {opened(folder).digest}
    assert opened(folder).digest in seen
    replace(folder, np.zeros((3, 4), dtype=np.uint8))
    seen.add(opened(folder).digest)
    label(folder, {f"sample_{number}": 0 for number in range(6)})
    seen.add(opened(folder).digest)
    (folder / "dataset.toml").write_text("mean = 0.5\n")
    seen.add(opened(folder).digest)
    assert len(seen) == 4


def test_a_second_opening_uses_the_cache(folder, tmp_path):
    first = opened(folder)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")}
    assert opened(folder).digest == first.digest
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")} == files
    assert len(files) == 2


def test_several_workers_may_open_it_at_once(folder, tmp_path):
    with ThreadPoolExecutor(8) as pool:
        datasets = list(pool.map(lambda _: opened(folder), range(16)))
    assert all(np.array_equal(dataset.everything.x, datasets[0].everything.x) for dataset in datasets)
    assert [path.name for path in (tmp_path / "cache" / "datasets").iterdir()] == [datasets[0].digest]


def test_a_damaged_cache_says_what_to_delete(folder, tmp_path):
    digest = opened(folder).digest
    (tmp_path / "cache" / "datasets" / digest / "x.npy").write_bytes(b"half")
    with pytest.raises(Misconfigured, match="damaged; delete the folder"):
        opened(folder)


def test_a_failed_reading_leaves_nothing_in_the_cache(folder, tmp_path):
    replace(folder, np.zeros((2, 2)))
    with pytest.raises(Misconfigured):
        opened(folder)
    assert list((tmp_path / "cache" / "datasets").iterdir()) == []


def test_no_folder(folder):
    with pytest.raises(Misconfigured, match=r"data set 'clinic': no folder .*it should hold images/"):
        opened(folder.parent / "clinic")


def test_no_images(folder):
    (folder / "images").rename(folder / "pictures")
    with pytest.raises(Misconfigured, match=r"/images is missing"):
        opened(folder)


def test_no_labels(folder):
    (folder / "labels.json").unlink()
    with pytest.raises(Misconfigured, match=r"labels.json is missing"):
        opened(folder)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ("{", "is invalid: not valid JSON"),
        ("[1, 2]", "expected one object"),
        ('{"sample_0": 1, "sample_0": 2}', "stands twice"),
        ('{"sample_0": "cat"}', "has the label 'cat', expected an integer"),
        ('{"sample_0": -1}', "has the label -1"),
        ('{"sample_0": true}', "has the label True"),
        ('{"sample_0": 1.0}', "has the label 1.0"),
    ],
)
def test_labels_that_are_invalid(folder, labels, reason):
    label(folder, labels)
    with pytest.raises(Misconfigured, match=reason):
        opened(folder)


def test_an_empty_folder(folder):
    for path in (folder / "images").iterdir():
        path.unlink()
    with pytest.raises(Misconfigured, match="is empty"):
        opened(folder)


def test_a_file_with_no_label(folder):
    replace(folder, np.zeros((3, 4), dtype=np.uint8), "sample_new")
    with pytest.raises(Misconfigured, match=r"no label for 'sample_new'"):
        opened(folder)


def test_a_label_with_no_file(folder):
    (folder / "images" / "sample_2.npy").unlink()
    with pytest.raises(Misconfigured, match=r"no file for the label 'sample_2'"):
        opened(folder)


@pytest.mark.parametrize("array", [np.zeros((4, 3), np.uint8), np.zeros((3, 4), np.float32)])
def test_shapes_and_kinds_that_differ(folder, array):
    replace(folder, array)
    with pytest.raises(Misconfigured, match=r"sample_3.npy has the shape .* but sample_0.npy has \(3, 4\) of uint8"):
        opened(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_that_are_not_finite(folder, value):
    replace_all(folder, lambda number: np.full((3, 4), value if number == 4 else 0.0))
    with pytest.raises(Misconfigured, match=r"sample_4.npy holds NaN or infinite values"):
        opened(folder)


def test_a_class_that_the_model_does_not_have(folder):
    label(folder, {f"sample_{number}": number % 5 for number in range(6)})
    with pytest.raises(Misconfigured, match=r"'sample_3' is of class 3, but the task's model has the classes 0 to 2"):
        opened(folder)


def test_a_class_that_the_description_does_not_have(folder):
    (folder / "dataset.toml").write_text("classes = 2\n")
    with pytest.raises(Misconfigured, match=r"'sample_2' is of class 2, but dataset.toml"):
        opened(folder)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01", b"hello", b"PK\x03\x04"])
def test_files_that_are_no_arrays(folder, content):
    (folder / "images" / "sample_3.npy").write_bytes(content)
    with pytest.raises(Misconfigured, match=r"sample_3.npy is no readable"):
        opened(folder)


def test_an_archive_of_arrays(folder):
    with (folder / "images" / "sample_3.npy").open("wb") as file:
        np.savez(file, a=np.zeros(3))
    with pytest.raises(Misconfigured, match=r"no readable .npy array"):
        opened(folder)


def test_pickled_arrays_are_not_opened(folder):
    np.save(folder / "images" / "sample_3.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(Misconfigured, match="pickled ones are not opened"):
        opened(folder)


@pytest.mark.parametrize("array", [np.array(3.0), np.zeros((0, 4)), np.zeros(3, dtype=complex), np.array(["a"])])
def test_arrays_that_are_no_samples(folder, array):
    replace(folder, array)
    with pytest.raises(Misconfigured, match="expected an array of real numbers"):
        opened(folder)


def test_samples_that_do_not_fit_the_model(folder):
    with pytest.raises(Misconfigured, match="does not fit the task's model: cnn takes images from 20x20"):
        opened(folder, architecture=Architecture(name="cnn"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("shape = [", "is not valid TOML"),
        ("colour = 3", "unknown field `colour`"),
        ("shape = [4, 3]", r"has the shape \(3, 4\), but dataset.toml says \(4, 3\)"),
        ("shape = []", "shape must be"),
        ("classes = 0", "classes must be"),
        ('classes = "3"', "Expected `int"),
        ("validation_share = 1.0", "validation_share must be"),
        ("std = 0.0", "std above 0"),
        ("mean = nan", "mean must be finite"),
        ("mean = [1.0, 2.0]", r"has 1 channel\(s\), but dataset.toml normalises 2"),
    ],
)
def test_descriptions_that_are_wrong(folder, text, reason):
    (folder / "dataset.toml").write_text(text)
    with pytest.raises(Misconfigured, match=reason):
        opened(folder)


def test_colour_images_are_turned_and_normalised_per_channel(folder):
    replace_all(folder, lambda number: np.stack([np.full((2, 2), c, np.float32) for c in (1, 2, 3)], axis=-1))
    (folder / "dataset.toml").write_text("mean = [1.0, 1.0, 1.0]\nstd = [1.0, 2.0, 4.0]\n")
    dataset = opened(folder)
    assert dataset.shape == (3, 2, 2)
    assert dataset.everything.x[0, :, 0, 0].tolist() == [0.0, 0.5, 0.5]


def test_a_check_finds_every_fault_of_labels_files_and_values(folder):
    label(folder, {**{f"sample_{number}": number % 3 for number in range(5)}, "sample_0": "cat", "ghost": 1})
    replace(folder, np.zeros((3, 4), np.uint8), "sample_new")
    (folder / "images" / "sample_1.npy").write_bytes(b"hello")
    replace(folder, np.zeros((4, 3), np.uint8), "sample_2")
    replace(folder, np.array([{"a": 1}], dtype=object), "sample_4")
    (folder / "dataset.toml").write_text('colour = 3\nclasses = "3"\nvalidation_share = 1.0\n')
    found = every_fault(folder).reasons
    expected = [
        r"dataset.toml: Object contains unknown field `colour`; mend or remove it",
        r"dataset.toml: Expected `int.*`, got `str` - at `\$.classes`; mend or remove it",
        r"dataset.toml: validation_share must be from 0 to below 1",
        r"labels.json is invalid: 'sample_0' has the label 'cat', expected an integer from 0 on; mend it",
        r"labels.json has no label for 'sample_5' \(sample_5.npy\); add it, or remove the file",
        r"labels.json has no label for 'sample_new' \(sample_new.npy\); add it, or remove the file",
        r"no file for the label 'ghost'; add it, or remove the label",
        r"sample_1.npy is no readable .npy array .*; save it anew, or remove it",
        r"sample_4.npy is no readable .npy array \(pickled ones are not opened\).*; save it anew",
        r"sample_2.npy has the shape \(4, 3\) of uint8, but sample_0.npy has \(3, 4\) of uint8; .*: convert it, or remove it",
    ]
    assert len(found) == len(expected)
    assert all(re.search(reason, text) for reason, text in zip(expected, found, strict=True)), found


def test_a_check_takes_the_shape_of_most_files_for_the_right_one(folder):
    replace(folder, np.zeros((4, 3), np.uint8), "sample_0")
    (found,) = every_fault(folder).reasons
    assert "sample_0.npy has the shape (4, 3) of uint8, but sample_1.npy has (3, 4)" in found


def test_what_dataset_toml_says_of_every_file_is_one_fault(folder):
    (folder / "dataset.toml").write_text("mean = [1.0, 2.0]\n")
    (found,) = every_fault(folder).reasons
    assert "1 channel(s), but dataset.toml normalises 2" in found


def test_labels_that_cannot_be_read_hide_no_broken_file(folder):
    label(folder, "{")
    replace(folder, np.full((3, 4), np.nan))
    first, *rest = every_fault(folder).reasons
    assert "labels.json is invalid: not valid JSON" in first
    assert any("sample_3.npy holds NaN" in each for each in rest)


def test_a_check_finds_nothing_wrong_with_a_sound_data_set(folder):
    assert every_fault(folder).reasons == []


def test_where_the_channels_are_is_not_guessed(folder):
    replace_all(folder, lambda number: np.zeros((3, 4, 1), np.float32))
    with pytest.raises(Misconfigured, match=r"say in dataset.toml where its channels are"):
        opened(folder)
    (folder / "dataset.toml").write_text('channels = "first"\n')
    assert opened(folder).shape == (3, 4, 1)
    (folder / "dataset.toml").write_text('channels = "last"\n')
    assert opened(folder).shape == (1, 3, 4)


def test_the_held_back_part_stays_when_files_are_added():
    names = [f"sample_{number}" for number in range(2000)]
    apart = held_back(names, 0.1)
    assert 150 < apart.sum() < 250
    assert held_back([*names, "a_new_one"], 0.1)[:-1].tolist() == apart.tolist()
    assert not held_back(names, 0.0).any()


def test_the_parts_are_disjoint_and_the_descriptions_share_wins(folder):
    dataset = opened(folder, share=0.5)
    assert sorted([*dataset.training.rows, *dataset.held_back.rows]) == list(range(6))
    assert len(dataset.held_back) == held_back([f"sample_{number}" for number in range(6)], 0.5).sum() > 0
    (folder / "dataset.toml").write_text("validation_share = 0.0\n")
    assert len(opened(folder, share=0.5).held_back) == 0
