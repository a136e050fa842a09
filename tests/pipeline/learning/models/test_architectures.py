import inspect

import pytest
import torch

from pipeline.errors import Rejected
from pipeline.learning.models.architectures import _BUILDERS, build, infer, layout
from pipeline.learning.models.catalogue import CATALOGUE, class_count, misfit
from pipeline.learning.models.checkpoints import dimension_of
from pipeline.protocol.task import Architecture

SAMPLES = {"linear": (1, 28, 28), "mlp": (1, 28, 28), "cnn": (1, 28, 28), "resnet9": (3, 32, 32)}


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_architecture_builds_and_tells_its_classes_apart(name):
    module = build(Architecture(name=name, kwargs={"num_classes": 7}))
    assert module(torch.zeros(2, *SAMPLES[name])).shape == (2, 7)
    assert class_count(Architecture(name=name)) == 10


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_catalogue_and_the_builders_name_the_same_arguments(name):
    assert set(_BUILDERS) == set(CATALOGUE)
    assert list(inspect.signature(_BUILDERS[name]).parameters) == list(CATALOGUE[name])


def test_an_unknown_name_is_refused_with_the_names_that_there_are():
    with pytest.raises(Rejected, match="'vgg' is unknown; there are: cnn, linear, mlp, resnet9"):
        build(Architecture(name="vgg"))


@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        ({"depth": 3}, "'depth' is no argument of cnn"),
        ({"num_classes": 0}, "num_classes must be an integer from 1"),
        ({"num_classes": 10**9}, "num_classes must be an integer from 1 to 100000"),
        ({"num_classes": "10"}, "num_classes must be an integer"),
        ({"num_classes": True}, "num_classes must be an integer"),
        ({"in_channels": 1.5}, "in_channels must be an integer"),
    ],
)
def test_unknown_or_wrong_arguments_are_refused_by_name(kwargs, reason):
    with pytest.raises(Rejected, match=reason):
        build(Architecture(name="cnn", kwargs=kwargs))


def test_all_wrong_arguments_are_named_at_once():
    with pytest.raises(Rejected) as error:
        build(Architecture(name="mlp", kwargs={"depth": 3, "hidden": -1}))
    assert len(error.value.reasons) == 2


@pytest.mark.parametrize(
    ("name", "parameters", "values"), [("linear", 7850, 7850), ("cnn", 11770, 11770), ("resnet9", 4903242, 4909002)]
)
def test_the_dimension_counts_the_buffers_of_batch_norm(name, parameters, values):
    module = build(Architecture(name=name))
    assert sum(parameter.numel() for parameter in module.parameters()) == parameters
    assert dimension_of(module.state_dict()) == values


@pytest.mark.parametrize("name", CATALOGUE)
def test_an_architecture_is_inferred_from_its_own_state_dict(name):
    kwargs = {argument: 20 + place for place, argument in enumerate(CATALOGUE[name])}
    architecture = Architecture(name=name, kwargs=kwargs)
    assert infer(layout(architecture)) == architecture


def test_nothing_is_inferred_where_a_name_or_a_shape_differs():
    state = build(Architecture(name="cnn")).state_dict()
    assert infer({**state, "extra": torch.zeros(1)}) is None
    assert infer({**state, "conv2.weight": torch.zeros(16, 8, 5, 5)}) is None
    assert infer({name: tensor for name, tensor in state.items() if name != "fc.bias"}) is None
    assert infer({"fc.weight": torch.zeros(10), "fc.bias": torch.zeros(10)}) is None
    assert infer({"fc.weight": torch.zeros(0, 4), "fc.bias": torch.zeros(0)}) is None
    assert infer({}) is None


@pytest.mark.parametrize(
    ("name", "shape", "reason"),
    [
        ("linear", (1, 28, 27), "takes 784 values a sample, these have 756"),
        ("cnn", (3, 28, 28), "images of 1 channel"),
        ("cnn", (784,), "images of 1 channel"),
        ("cnn", (1, 19, 28), "from 20x20 on"),
        ("resnet9", (1, 32, 32), "images of 3 channel"),
    ],
)
def test_samples_that_do_not_fit_are_named(name, shape, reason):
    found = misfit(Architecture(name=name), shape)
    assert found is not None
    assert reason in found


@pytest.mark.parametrize("name", CATALOGUE)
def test_samples_that_fit_are_no_misfit(name):
    assert misfit(Architecture(name=name), SAMPLES[name]) is None
