import sys
from importlib.metadata import EntryPoint

import pytest
import torch

from pipeline.errors import Misconfigured, Rejected
from pipeline.learning.models import extensions
from pipeline.learning.models.architectures import build, layout
from pipeline.learning.models.catalogue import class_count, misfit, resolved
from pipeline.learning.models.checkpoints import read_model
from pipeline.learning.models.extensions import Argument, Extension
from pipeline.learning.models.model_file import write_model
from pipeline.learning.models.monai_networks import NETWORKS
from pipeline.protocol.task import Architecture


def wardnet(*, beds, wards):
    return torch.nn.Linear(beds, wards)


WARDNET = Extension(
    arguments={"beds": Argument(4, 100), "wards": Argument(2, 10, smallest=2)},
    builder=f"{__name__}:wardnet",
    classes="wards",
    misfit=lambda arguments, shape: None if shape == (arguments["beds"],) else "beds differ",
)
FAMILY = {"Net": WARDNET}
NONSENSE = 5


@pytest.fixture(autouse=True)
def _installed(monkeypatch):
    """As if packages with these entry points were installed."""
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or pytest.fail("this module"))
    points = [
        EntryPoint(name=name, group=extensions.GROUP, value=value)
        for name, value in [
            ("wardnet", f"{__name__}:WARDNET"),
            ("hospital", f"{__name__}:FAMILY"),
            ("nonsense", f"{__name__}:NONSENSE"),
            ("broken", "no_such_package:NET"),
        ]
    ]
    monkeypatch.setattr(extensions, "entry_points", lambda group: points)
    extensions._offered.cache_clear()
    yield
    extensions._offered.cache_clear()


@pytest.mark.parametrize("name", ["wardnet", "hospital:Net"])
def test_a_package_adds_a_network_or_a_family(name):
    architecture = Architecture(name=name, kwargs={"wards": 3})
    assert resolved(architecture) == {"beds": 4, "wards": 3}
    assert class_count(architecture) == 3
    assert build(architecture).weight.shape == (3, 4)
    assert layout(architecture)["weight"].is_meta
    assert misfit(architecture, (4,)) is None
    assert misfit(architecture, (5,)) == "beds differ"


def test_a_model_of_an_added_network_is_read(tmp_path):
    architecture = Architecture(name="wardnet")
    (tmp_path / "model").write_bytes(write_model(build(architecture).state_dict(), architecture))
    assert read_model(tmp_path / "model", None, max_dimension=100).architecture == architecture


@pytest.mark.parametrize("kwargs", [{"wards": 1}, {"wards": 11}, {"wards": "2"}, {"rooms": 2}, {"beds": True}])
def test_arguments_of_an_added_network_are_checked_too(kwargs):
    with pytest.raises(Rejected, match=r"architecture wardnet: (wards|beds) must be an integer from|no argument"):
        build(Architecture(name="wardnet", kwargs=kwargs))


@pytest.mark.parametrize("name", ["hospital", "hospital:Other", "wardnet:Net", "other", "monai", "monai:UNet", ":", ""])
def test_an_unknown_name_lists_what_there_is(name, monkeypatch):
    monkeypatch.setattr(extensions, "entry_points", lambda group: WELL)
    with pytest.raises(Rejected, match=r"is unknown; there are: cnn, .*hospital:\.\., monai:\.\., wardnet"):
        build(Architecture(name=name))


WELL = [
    EntryPoint(name="wardnet", group=extensions.GROUP, value=f"{__name__}:WARDNET"),
    EntryPoint(name="hospital", group=extensions.GROUP, value=f"{__name__}:FAMILY"),
]


@pytest.mark.parametrize(("name", "reason"), [("nonsense", "expected an Extension"), ("broken", "does not load")])
def test_a_package_that_offers_something_else_is_the_operators_to_mend(name, reason):
    with pytest.raises(Misconfigured, match=reason):
        build(Architecture(name=name))


def test_without_monai_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "monai.networks.nets", None)
    monkeypatch.delitem(sys.modules, "pipeline.learning.models.monai_builders", raising=False)
    with pytest.raises(Misconfigured, match=r"monai:resnet18: .*pip install 'flfleet\[monai\]'"):
        build(Architecture(name="monai:resnet18"))


def test_samples_for_monai_are_checked_without_monai():
    images = Architecture(name="monai:DenseNet121")
    assert class_count(images) == 2
    assert misfit(images, (1, 64, 64)) is None
    assert "2-dimensional images of 1 channel" in misfit(images, (3, 64, 64))
    assert "from 32 on a side" in misfit(images, (1, 64, 31))
    volumes = Architecture(name="monai:resnet18", kwargs={"spatial_dims": 3})
    assert misfit(volumes, (1, 32, 32, 32)) is None
    assert misfit(volumes, (1, 32, 32)) is not None


@pytest.mark.parametrize("name", NETWORKS)
def test_monais_networks_build_without_a_download_and_learn(name):
    pytest.importorskip("monai", reason="the extra monai is not installed")
    architecture = Architecture(name=f"monai:{name}")
    module = build(architecture)
    expected = layout(architecture)
    assert {key: tensor.shape for key, tensor in module.state_dict().items()} == {
        key: tensor.shape for key, tensor in expected.items()
    }
    logits = module(torch.zeros(2, 1, 32, 32))
    assert logits.shape == (2, 2)
    logits.sum().backward()


def test_monais_densenet_travels_in_a_model_file(tmp_path):
    pytest.importorskip("monai", reason="the extra monai is not installed")
    architecture = Architecture(name="monai:DenseNet121", kwargs={"out_channels": 3})
    state = build(architecture).state_dict()
    (tmp_path / "model").write_bytes(write_model(state, architecture))
    model = read_model(tmp_path / "model", None, max_dimension=10**7)
    loaded = model.module().state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    integers = [name for name, tensor in state.items() if not tensor.is_floating_point()]
    assert model.dimension == sum(t.numel() for name, t in state.items() if name not in integers)
