"""Model files made to harm: each is refused in moments, with a reason, before it takes memory or runs anything."""

import io
import json
import struct
import time
import zipfile

import pytest
import torch

from pipeline.errors import Rejected
from pipeline.learning.models.architectures import build
from pipeline.learning.models.checkpoints import read_model
from pipeline.protocol.task import Architecture

LINEAR = Architecture(name="linear", kwargs={"in_features": 6, "num_classes": 3})


def refused(tmp_path, data, architecture=LINEAR):
    path = tmp_path / "model"
    path.write_bytes(data)
    begun = time.monotonic()
    with pytest.raises(Rejected) as caught:
        read_model(path, architecture, max_dimension=10**6)
    assert time.monotonic() - begun < 10
    return str(caught.value)


def tensors_file(header, body=b"", *, claimed=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if claimed is None else claimed) + text + body


def entry(dtype="F32", shape=(3, 6), offsets=(0, 72)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def good_state():
    return build(LINEAR).state_dict()


def saved(state, change=lambda _name, body: body):
    source, sink = io.BytesIO(), io.BytesIO()
    torch.save(state, source)
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(sink, "w") as target:
        for member in archive.infolist():
            target.writestr(member.filename, change(member.filename, archive.read(member)))
    return sink.getvalue()


@pytest.mark.parametrize("claimed", [2**63, 2**40, 100_000_001])
def test_a_header_that_claims_to_be_huge(tmp_path, claimed):
    assert "truncated or damaged" in refused(tmp_path, tensors_file({"fc.bias": entry()}, bytes(72), claimed=claimed))


def test_a_header_that_is_huge(tmp_path):
    assert "truncated or damaged" in refused(tmp_path, tensors_file(b"{" + b" " * 100_000_001))


def test_a_header_nested_beyond_any_stack(tmp_path):
    assert "truncated or damaged" in refused(tmp_path, tensors_file(b'{"a":' * 1_000_000))


@pytest.mark.parametrize(
    "header",
    [
        {"fc.weight": entry(offsets=(0, 2**62))},
        {"fc.weight": entry(offsets=(72, 0))},
        {"fc.weight": entry(shape=(2**32, 2**32))},
        {"fc.weight": entry(shape=(-3, -6))},
        {"fc.weight": entry(), "fc.bias": entry(shape=(3,), offsets=(0, 12))},
        {"fc.weight": entry(dtype="F33")},
        {"__metadata__": {"architecture": 5}},
        {"fc.weight": None},
    ],
    ids=["beyond", "backwards", "overflow", "negative", "overlap", "dtype", "metadata", "null"],
)
def test_tensors_that_lie_about_where_and_what_they_are(tmp_path, header):
    assert "truncated or damaged" in refused(tmp_path, tensors_file(header, bytes(72)))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.float8_e4m3fn, torch.bool, torch.int32, torch.uint8])
def test_numbers_of_a_kind_that_no_model_has(tmp_path, dtype):
    state = good_state() | {"fc.bias": torch.zeros(3, dtype=dtype)}
    assert f"fc.bias is of type {dtype}, expected torch.float32" in refused(tmp_path, saved(state))


def test_a_pickle_that_asks_for_more_memory_than_there_is(tmp_path):
    bomb = b"\x80\x04\x8e" + struct.pack("<Q", 2**45) + b"x"
    assert "model file" in refused(
        tmp_path, saved(good_state(), lambda name, body: bomb if name.endswith(".pkl") else body)
    )


def test_a_pickle_that_doubles_itself(tmp_path):
    laughs = b"\x80\x02]q\x00" + b"".join(b"]q%c(h%ch%ce" % (n + 1, n, n) for n in range(100)) + b"."
    assert "model file" in refused(
        tmp_path, saved(good_state(), lambda name, body: laughs if name.endswith(".pkl") else body)
    )


def test_a_pickle_that_is_huge(tmp_path):
    state = {"w" * 1_000_000 + str(number): torch.zeros(1) for number in range(17)}
    assert "names and shapes take more than" in refused(tmp_path, saved(state))


def test_a_thousand_tensors_over_one_record_stay_one_record(tmp_path):
    one = torch.zeros(4)
    assert "model for linear" in refused(tmp_path, saved({f"w{number}": one for number in range(1000)}))


def test_a_task_that_asks_for_a_monster(tmp_path):
    monster = Architecture(name="mlp", kwargs={"in_features": 10_000_000, "hidden": 1_000_000})
    assert "parameters, at most 1000000 are allowed" in refused(tmp_path, saved(good_state()), monster)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\x00b"])
def test_names_that_would_leave_a_folder_are_only_names(tmp_path, name):
    assert "model for linear" in refused(tmp_path, saved(good_state() | {name: torch.zeros(1)}))
