"""The pages of all commands and of the exit codes, written from the code."""

import ast
import inspect
import re
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from cli import console
from cli.console import Exit
from cli.main import app

_COMMANDS = """\
# Commands

This page is made from `cli/commands`. To renew it: `python -m cli.reference commands > docs/commands.md`.

Every command takes `--help`. Results go to stdout, everything else to stderr, so `--json` can be piped. What a command's end
means is in [exit codes](exit-codes.md); how to have the shell complete all this, in [the quickstart](quickstart.md#completion).
"""
_EXITS = """\
# Exit codes

This page is made from `cli/console.py`. To renew it: `python -m cli.reference exits > docs/exit-codes.md`.

A mistake is one sentence on stderr that says what was found and what to do, never a traceback. A traceback is a bug of ours.

| Code | Name | Meaning |
|---|---|---|
"""
_EXITS_END = """\

A worker, beat and the services that run in the foreground (`flfleet worker`, `beat`, `flower`, `serve`) check settings and ledger
first and end with 2 or 3 as above; after that the code is their own: 0 after a TERM, anything else is a crash. The systemd units do
not restart a process that ended with 2, since trying again does not mend a setting.
"""


def commands_page() -> str:
    """docs/commands.md, whole."""
    return "\n".join([_COMMANDS, *_commands(get_command(app), "flfleet"), ""]).rstrip() + "\n"


def exits_page() -> str:
    """docs/exit-codes.md, whole."""
    rows = [f"| {code.value} | `{code.name}` | {meaning} |" for code, meaning in _meanings()]
    return _EXITS + "\n".join(rows) + "\n" + _EXITS_END


def _commands(group: Any, path: str) -> Iterator[str]:
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            if command.invoke_without_command:
                yield from _command(command, f"{path} {name}")
            yield from _commands(command, f"{path} {name}")
        else:
            yield from _command(command, f"{path} {name}")


def _command(command: Any, path: str) -> Iterator[str]:
    words, _, example = (inspect.getdoc(command.callback) or command.help or "").partition("Example:")
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    metavars = [_word(one) for one in arguments]
    yield f"## `{path}`\n"
    yield f"{_text(words)}\n"
    yield f"    {' '.join([path, *metavars, '[OPTIONS]'])}\n"
    rows = [_row(one) for one in command.params if one.name != "help" and not getattr(one, "hidden", False)]
    if rows:
        yield "| Argument or option | Meaning | Default |"
        yield "|---|---|---|"
        yield from rows
        yield ""
    yield f"Example:\n\n    {' '.join(example.split())}\n"


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = f"`{_word(parameter)}`"
    else:
        names = [*parameter.opts, *parameter.secondary_opts]
        name = " ".join(f"`{one}`" for one in names if not one.startswith("--no-"))
    meaning = _text(parameter.help or "")
    return f"| {name} | {meaning} | {_default(parameter)} |"


def _word(argument: Any) -> str:
    """How the argument is written in a command line."""
    return str(argument.metavar or argument.name.upper())


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    shown = getattr(parameter, "show_default", None)
    value = shown if isinstance(shown, str) else parameter.default
    if value is None or value is False or value in ((), []):
        return ""
    return f"`{getattr(value, 'value', value)}`"


def _text(text: str) -> str:
    """One line that a Markdown table takes."""
    plain = re.sub(r"\[/?\w*\]", "", " ".join(text.split()))
    return plain.replace("|", "\\|").replace("<", "&lt;")


def _meanings() -> Iterator[tuple[Exit, str]]:
    """The codes and the `#:` comments before them, which say what they mean."""
    source = inspect.getsource(console)
    lines = source.splitlines()
    (node,) = (one for one in ast.parse(source).body if isinstance(one, ast.ClassDef) and one.name == "Exit")
    for code, entry in zip(Exit, (one for one in node.body if isinstance(one, ast.Assign)), strict=True):
        before = lines[entry.lineno - 2].strip()
        yield code, before.removeprefix("#:").strip() if before.startswith("#:") else "All went well."
