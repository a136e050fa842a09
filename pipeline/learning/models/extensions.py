"""Networks that are not our own: MONAI's, and those that an installed package adds by the entry point `flfleet.architectures`.

    [project.entry-points."flfleet.architectures"]
    wardnet = "hospital.networks:WARDNET"       # an Extension: the architecture's name is "wardnet"
    hospital = "hospital.networks:NETWORKS"     # {"Small": Extension, ...}: the names are "hospital:Small", ...

Nothing here imports torch: the object that an entry point names should not, only its `builder`. All parties of a task need the
package, in versions whose state dicts have the same names in the same order.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from pipeline.errors import Misconfigured

GROUP = "flfleet.architectures"
#: Families that come with flfleet.
_OWN = {"monai": "pipeline.learning.models.monai_networks:NETWORKS"}


@dataclass(frozen=True)
class Argument:
    """An integer keyword argument: its default, its largest and smallest value."""

    default: int
    largest: int
    smallest: int = 1


@dataclass(frozen=True, kw_only=True)
class Extension:
    """A network that a task may name."""

    #: What a task may say, each an integer within bounds.
    arguments: Mapping[str, Argument]
    #: "package.module:callable": called with every argument by name, gives a torch module from samples to logits.
    builder: str
    #: The argument that holds the number of classes.
    classes: str = "num_classes"
    #: Called with all arguments and a sample's shape: why it cannot go in, as half a sentence, or None.
    misfit: Callable[[Mapping[str, int], Sequence[int]], str | None] = lambda _arguments, _shape: None


def find_extension(name: str) -> Extension | None:
    """The extension of that name, or None. Raises Misconfigured where an installed package offers something else."""
    family, colon, member = name.partition(":")
    offered = _offered(family)
    if offered is None:
        return None
    found = offered.get(member) if colon and isinstance(offered, Mapping) else None if colon else offered
    if found is not None and not isinstance(found, Extension) and not isinstance(found, Mapping):
        raise Misconfigured(f"entry point {family!r} of {GROUP}: expected an Extension or a mapping to Extensions")
    return found if isinstance(found, Extension) else None


def extension_names() -> list[str]:
    """What there is, for people: names, and families as `family:..`."""
    names = set(_OWN) | {point.name for point in entry_points(group=GROUP)}
    return sorted(f"{name}:.." if isinstance(_offered(name), Mapping) else name for name in names)


def builder_of(name: str) -> Callable[..., Any]:
    """What builds an extension. Raises Misconfigured where its package is not installed."""
    extension = find_extension(name)
    assert extension is not None, "its arguments were looked up by the same name"
    try:
        return _load(extension.builder)  # type: ignore[no-any-return]  # what an entry point promises
    except ImportError as error:
        family = name.partition(":")[0]
        how = f"pip install 'flfleet[{family}]'" if family in _OWN else "install the package that offers it"
        raise Misconfigured(f"architecture {name}: {error}; {how}") from None


@lru_cache(maxsize=64)
def _offered(family: str) -> Any:
    if family in _OWN:
        return _load(_OWN[family])
    for point in entry_points(group=GROUP):
        if point.name == family:
            try:
                return point.load()
            except (ImportError, AttributeError) as error:
                raise Misconfigured(f"entry point {family!r} of {GROUP} does not load: {error}") from None
    return None


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
