"""The page of all settings, written from the code: `python -m cli.reference > docs/settings.md`."""

import json
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from pipeline.settings import MinerSettings, Settings

_HEAD = """\
# Settings

This page is made from `pipeline/settings.py`. To renew it: `python -m cli.reference > docs/settings.md`.

A setting is read from the environment, else from `fleet.toml` in the home folder, else it has its default. An unknown name in
`fleet.toml` is an error. Relative paths start at the home folder, which `--home` or `FLFLEET_HOME` names. `flfleet doctor` says
what is wrong and what to set.

In the environment a list is written with commas (`0xab..,0xcd..`), a table as JSON (`{"train": 2}`). In `fleet.toml` both are
TOML's own. Secrets are files or environment variables, never options of a command: every setting that is a text or a secret may
lie in a file that a variable names, `FLFLEET_LEDGER_URL_FILE=/run/secrets/ledger_url`, as container engines mount secrets.
"""
_MINERS = """\
## `[[miner]]`

One table of `fleet.toml` for each identity of this fleet, any number of them.
"""
#: What a person writes for each type.
_KINDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    SecretStr: "secret",
    list: "list",
    dict: "table",
}


def page() -> str:
    """docs/settings.md, whole."""
    return "\n".join([_HEAD, *_settings_table(), "", _MINERS, *_miner_table(), ""])


def _settings_table() -> Iterator[str]:
    prefix = Settings.model_config["env_prefix"]
    yield "| `fleet.toml` | Environment | Kind | Default | Meaning |"
    yield "|---|---|---|---|---|"
    for name, field in Settings.model_fields.items():
        variable = f"`{prefix}{name.upper()}`"
        if name == "miner":
            yield _row("`[[miner]]`", variable, "tables", "none", _meaning(field))
        else:
            yield _row(f"`{name}`", variable, _kind(field.annotation), _default(field), _meaning(field))


def _miner_table() -> Iterator[str]:
    yield "| Name | Kind | Default | Meaning |"
    yield "|---|---|---|---|"
    for name, field in MinerSettings.model_fields.items():
        yield _row(f"`{name}`", _kind(field.annotation), _default(field), _meaning(field))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _meaning(field: FieldInfo) -> str:
    assert field.description, "every setting says what it is"
    return field.description


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ([], {}):
        return "none"
    return f"`{json.dumps(str(value) if isinstance(value, Path) else value)}`"


def _kind(annotation: Any) -> str:
    if typing.get_origin(annotation) is types.UnionType:
        (annotation,) = (part for part in typing.get_args(annotation) if part is not type(None))
    return _KINDS[typing.get_origin(annotation) or annotation]


if __name__ == "__main__":
    from cli.command_reference import commands_page, exits_page

    PAGES = {"settings": page, "commands": commands_page, "exits": exits_page}
    sys.stdout.write(PAGES[sys.argv[1] if len(sys.argv) > 1 else "settings"]())
