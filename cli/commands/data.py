"""The commands `flfleet data`."""

from pathlib import Path
from typing import Annotated

import typer

from cli.commands.options import DEFAULT_HOME, Home, Json
from cli.console import Exit

app = typer.Typer(no_args_is_help=True, help="Data sets: count and look at them before a task does.")
DataFolder = Annotated[Path | None, typer.Option("--data", help="Folder of data sets; default: every identity's own.")]


@app.command("check")
def data_check(
    dataset: Annotated[str | None, typer.Argument(help="Name of one; default: all.")] = None,
    data: DataFolder = None,
    home: Home = DEFAULT_HOME,
    json: Json = False,
) -> None:
    """Read data sets whole: how many samples, classes and patients, which shape, and all that is wrong, file by file.

    Lists up to 100 faults of a data set and counts the rest; exits with 1 where there is one.

    Example: flfleet data check chestxray
    """
    from cli.data import check_data

    raise typer.Exit(Exit.OK if check_data(home, dataset, data, as_json=json) else Exit.FAILED)


@app.command("show")
def data_show(
    dataset: Annotated[str, typer.Argument(help="Name of the data set.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG file to write.")] = Path("contact-sheet.png"),
    data: DataFolder = None,
    home: Home = DEFAULT_HOME,
) -> None:
    """Write a contact sheet: the first images of every class, as the network will see them.

    Example: flfleet data show chestxray -o sheet.png
    """
    from cli.data import show_data

    show_data(home, dataset, data, output)
