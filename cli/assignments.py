"""`--recipe epochs=5`, `--keyword num_classes=2`: NAME=VALUE options, values as JSON has them."""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import Misconfigured

_MAX_BYTES = 64 * 1024


def assignments(option: str, entries: Sequence[str]) -> dict[str, Any]:
    """The values by name; a value that is no JSON is a text. An entry that ends with .json or .toml is a file of them.

    Raises Misconfigured: no NAME=VALUE, a name twice, a file that cannot be read.
    """
    found: dict[str, Any] = {}
    for entry in entries:
        for name, value in _of(option, entry).items():
            if name in found:
                raise Misconfigured(f"{option}: {name!r} is given twice")
            found[name] = value
    return found


def _of(option: str, entry: str) -> dict[str, Any]:
    name, equals, value = entry.partition("=")
    if equals and name.isidentifier():
        return {name: _value(value)}
    if entry.endswith((".json", ".toml")):
        return _file(option, Path(entry))
    raise Misconfigured(f"{option}: expected NAME=VALUE (or a .json or .toml file of them), got {entry[:80]!r}")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _file(option: str, path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES).decode()
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise Misconfigured(f"{option}: {path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise Misconfigured(f"{option}: {path} holds no names and values")
    return content
