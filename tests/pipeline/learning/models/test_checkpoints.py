import copy
import hashlib
import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load, save_file

from pipeline.errors import Rejected
from pipeline.learning.models.architectures import build
from pipeline.learning.models.checkpoints import flatten, read_model, with_flat
from pipeline.learning.models.model_file import write_model
from pipeline.protocol.task import Architecture

CNN = Architecture(name="cnn")
LINEAR = Architecture(name="linear", kwargs={"in_features": 6, "num_classes": 3})


def state_of(architecture):
    torch.manual_seed(3)
    return build(architecture).state_dict()


@pytest.fixture
def read(tmp_path):
    def _read(content, architecture=None, *, max_bytes=10**8, max_dimension=10**7, dimension=None):
        path = tmp_path / "model"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(content, path)
        return read_model(path, architecture, max_bytes=max_bytes, max_dimension=max_dimension, dimension=dimension)

    return _read


def same(state, other):
    return list(state) == list(other) and all(torch.equal(state[name], other[name]) for name in state)


@pytest.mark.parametrize("architecture", [LINEAR, CNN, Architecture(name="resnet9", kwargs={"num_classes": 3})])
def test_a_written_model_is_read_back_with_its_architecture(read, architecture):
    state = state_of(architecture)
    model = read(write_model(state, architecture))
    assert model.architecture == architecture
    assert same(model.state, state)
    assert model.dimension == flatten(state).size
    assert same(model.module().state_dict(), state)


def test_the_bytes_of_a_model_are_the_same_everywhere():
    state = {"w": torch.arange(3, dtype=torch.float32), "n": torch.tensor(5), "h": torch.ones(1, dtype=torch.float16)}
    data = write_model(state, Architecture(name="mlp", kwargs={"num_classes": 2, "hidden": 4}))
    length = int.from_bytes(data[:8], "little")
    header = (
        '{"__metadata__":{"architecture":"{\\"kwargs\\":{\\"hidden\\":4,\\"num_classes\\":2},\\"name\\":\\"mlp\\"}"},'
        '"w":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},"n":{"dtype":"I64","shape":[],"data_offsets":[12,20]},'
        '"h":{"dtype":"F16","shape":[1],"data_offsets":[20,22]}}'
    )
    assert length % 8 == 0
    assert data[8 : 8 + length].decode() == header + " " * (length - len(header))
    assert data[8 + length :] == (
        np.arange(3, dtype="<f4").tobytes() + (5).to_bytes(8, "little") + np.ones(1, "<f2").tobytes()
    )
    assert (
        hashlib.sha256(data).hexdigest()
        == hashlib.sha256(
            write_model(dict(state), Architecture(name="mlp", kwargs={"hidden": 4, "num_classes": 2}))
        ).hexdigest()
    )


def test_the_safetensors_library_reads_what_we_write(tmp_path):
    state = state_of(Architecture(name="resnet9")) | {"b": torch.ones(3, dtype=torch.bfloat16), "z": torch.tensor(True)}
    data = write_model(state, CNN)
    assert same(dict(sorted(load(data).items())), dict(sorted(state.items())))
    (tmp_path / "m.safetensors").write_bytes(data)
    with safe_open(tmp_path / "m.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["architecture"]) == {"name": "cnn", "kwargs": {}}


def test_a_file_of_the_safetensors_library_comes_back_in_the_architectures_order(read, tmp_path):
    state = state_of(CNN)
    save_file(dict(reversed(state.items())), tmp_path / "library")
    model = read((tmp_path / "library").read_bytes(), CNN)
    assert same(model.state, state)


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"model": state, "epoch": 4}])
def test_a_state_dict_is_read_bare_or_under_model(read, wrap):
    assert same(read(wrap(state_of(CNN)), CNN).state, state_of(CNN))


def test_parameters_in_a_state_dict_count_as_tensors(read):
    module = build(CNN)
    model = read(dict(module.named_parameters()), CNN)
    assert same(model.state, module.state_dict())
    assert not any(tensor.requires_grad for tensor in model.state.values())


def test_the_tasks_architecture_wins_over_the_files(read):
    with pytest.raises(Rejected, match="model for mlp: misses"):
        read(write_model(state_of(LINEAR), LINEAR), Architecture(name="mlp"))


def test_an_architecture_is_inferred_where_nobody_names_it(read):
    assert read(state_of(LINEAR)).architecture == LINEAR


def test_an_unknown_model_without_an_architecture_is_refused(read):
    with pytest.raises(Rejected, match=r"architecture is not known.*name it in the task"):
        read({"encoder.weight": torch.zeros(3, 3)})


class Trap:
    def __reduce__(self):
        return open, ("/tmp/flfleet-trap-was-sprung", "w")


def script_archive():
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name in ("m/data.pkl", "m/constants.pkl", "m/code/__torch__.py", "m/version"):
            archive.writestr(name, b"\x80\x02}.")
    return sink.getvalue()


def zipped(compression=zipfile.ZIP_STORED, **members):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/").replace("_pkl", ".pkl"), data)
    return sink.getvalue()


def repacked(content, change):
    """A file of torch.save with its members changed."""
    saved, sink = io.BytesIO(), io.BytesIO()
    torch.save(content, saved)
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(sink, "w") as target:
        for member in source.infolist():
            target.writestr(member.filename, change(member.filename, source.read(member)))
    return sink.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (torch.nn.Linear(2, 2), "a pickled module or other pickled objects"),
        ({"model": torch.nn.Linear(2, 2)}, "a pickled module or other pickled objects"),
        ({"w": Trap()}, "a pickled module or other pickled objects"),
        (pickle.dumps(Trap()), "a bare pickle"),
        (pickle.dumps({"w": [1.0]}), "a bare pickle"),
        (script_archive(), "a TorchScript archive"),
        (zipped(m__readme=b"x"), "a zip archive that torch.save did not write"),
        (zipped(zipfile.ZIP_DEFLATED, m__data_pkl=b"\x80\x02}."), "compressed records"),
        ([torch.zeros(2)], "holds a state dict"),
        ({}, "holds a state dict"),
        ({"w": torch.zeros(2), "step": 3}, "holds a state dict"),
        ({"w": torch.zeros(2, 2).to_sparse()}, "holds a state dict"),
        (b"GIF89a", "neither safetensors nor a .pt file"),
        (b"", "neither safetensors nor a .pt file"),
    ],
)
def test_files_that_hold_more_than_weights_are_refused_and_not_run(read, tmp_path, monkeypatch, content, reason):
    sprung = tmp_path / "sprung"
    monkeypatch.setattr(Trap, "__reduce__", lambda _self: (open, (str(sprung), "w")))
    with pytest.raises(Rejected, match=reason) as error:
        read(content, CNN)
    assert not sprung.exists()
    if "compressed" not in reason:
        assert "state_dict" in str(error.value)
        assert "architecture in the task" in str(error.value)


def test_records_that_overlap_are_a_bomb(read):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("m/data.pkl", b"\x80\x02}.")
        archive.writestr("m/data/0", bytes(1000))
        again = copy.copy(archive.getinfo("m/data/0"))
        again.filename = "m/data/1"
        archive.filelist.append(again)
    with pytest.raises(Rejected, match="records overlap"):
        read(sink.getvalue(), LINEAR)


def test_an_old_torch_file_is_a_bare_pickle(read):
    sink = io.BytesIO()
    torch.save(state_of(LINEAR), sink, _use_new_zipfile_serialization=False)
    with pytest.raises(Rejected, match="a bare pickle"):
        read(sink.getvalue(), LINEAR)


@pytest.mark.parametrize("kept", [0.999, 0.5, 0.1])
def test_truncated_files_are_refused(read, kept):
    sink = io.BytesIO()
    torch.save(state_of(CNN), sink)
    for data in (sink.getvalue(), write_model(state_of(CNN), CNN)):
        with pytest.raises(Rejected, match="truncated or damaged"):
            read(data[: int(len(data) * kept)], CNN)


def test_a_safetensors_file_cut_inside_its_header_is_refused(read):
    with pytest.raises(Rejected, match="truncated or damaged: a header of"):
        read(write_model(state_of(CNN), CNN)[:40], CNN)


def test_tensors_that_claim_more_than_their_records_are_refused(read):
    data = repacked({"fc.weight": torch.zeros(3, 6)}, lambda name, body: body[:8] if name.endswith("data/0") else body)
    with pytest.raises(Rejected, match=r"damaged|claim more"):
        read(data, LINEAR)


def test_a_broken_pickle_in_a_good_archive_is_refused(read):
    data = repacked(state_of(LINEAR), lambda name, body: body[:20] if name.endswith("data.pkl") else body)
    with pytest.raises(Rejected, match="model file"):
        read(data, LINEAR)


@pytest.mark.parametrize("text", ["{", '{"kwargs":{}}', '{"name":5}', "[]"])
def test_a_damaged_architecture_in_the_metadata_is_refused(read, tmp_path, text):
    save_file(state_of(LINEAR), tmp_path / "f", metadata={"architecture": text})
    with pytest.raises(Rejected, match="metadata 'architecture' must be"):
        read((tmp_path / "f").read_bytes())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(read, value):
    state = state_of(LINEAR)
    state["fc.bias"][1] = value
    with pytest.raises(Rejected, match=r"NaN or infinite weights in 'fc.bias'"):
        read(state, LINEAR)


def test_every_difference_to_the_architecture_is_named(read):
    state = {"fc.weight": torch.zeros(3, 7), "extra": torch.zeros(1)}
    with pytest.raises(Rejected) as error:
        read(state, LINEAR)
    assert [reason.removeprefix("model for linear: ") for reason in error.value.reasons] == [
        "misses 'fc.bias'",
        "holds 'extra', which linear does not have",
        "fc.weight has the shape (3, 7), expected (3, 6)",
    ]


def test_integers_in_place_of_weights_are_refused(read):
    with pytest.raises(Rejected, match=r"fc.bias is of type torch.int64, expected torch.float32"):
        read({"fc.weight": torch.zeros(3, 6), "fc.bias": torch.zeros(3, dtype=torch.int64)}, LINEAR)


def test_a_huge_tensor_over_one_number_is_refused_before_it_takes_memory(read):
    with pytest.raises(Rejected, match="has the shape"):
        read({"fc.weight": torch.zeros(1).expand(10**6, 10**6), "fc.bias": torch.zeros(3)}, LINEAR)


def test_too_large_a_file_and_too_many_parameters_are_refused(read):
    data = write_model(state_of(LINEAR), LINEAR)
    with pytest.raises(Rejected, match="FLFLEET_MAX_MODEL_BYTES"):
        read(data, max_bytes=len(data) - 1)
    with pytest.raises(Rejected, match="21 parameters, at most 20 are allowed"):
        read(data, max_dimension=20)
    assert read(data, max_bytes=len(data), max_dimension=21).dimension == 21


def test_another_dimension_than_the_tasks_is_refused(read):
    with pytest.raises(Rejected, match="21 floating-point values, but the task's dimension is 22"):
        read(write_model(state_of(LINEAR), LINEAR), dimension=22)


def test_flattening_goes_in_order_and_leaves_integers_out():
    state = {"b": torch.tensor([1.0, 2.0]), "n": torch.tensor(7), "a": torch.tensor([[3.0]], dtype=torch.float64)}
    assert flatten(state).tolist() == [1.0, 2.0, 3.0]
    assert flatten(state).dtype == np.float32
    back = with_flat(state, np.array([4, 5, 6], dtype=np.float32))
    assert back["n"] == 7
    assert back["a"].dtype == torch.float64
    assert flatten(back).tolist() == [4, 5, 6]
    with pytest.raises(ValueError, match="expected 3 values"):
        with_flat(state, np.zeros(4, dtype=np.float32))


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=21, max_size=21))
def test_a_flat_vector_survives_the_state_dict_and_the_file(values):
    vector = np.array(values, dtype=np.float32)
    state = with_flat(state_of(LINEAR), vector)
    assert flatten(state).tobytes() == vector.tobytes()
    assert flatten({name: load(write_model(state, LINEAR))[name] for name in state}).tobytes() == vector.tobytes()


def saved(state):
    sink = io.BytesIO()
    torch.save(state, sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    "data", [saved(state_of(LINEAR)), write_model(state_of(LINEAR), LINEAR)], ids=["pt", "safetensors"]
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), min_size=1, max_size=8))
def test_whatever_bytes_are_changed_a_file_is_read_or_refused(read, data, changes):
    changed = bytearray(data)
    for position, value in changes:
        changed[position % len(data)] = value
    try:
        model = read(bytes(changed), LINEAR)
    except Rejected:
        return
    assert [tensor.shape for tensor in model.state.values()] == [(3, 6), (3,)]
