"""Commands for whoever answers for the data: what left, what it cost, what was done."""

from pathlib import Path
from typing import Annotated

import typer

from cli.commands.options import DEFAULT_HOME, Home, Json
from cli.console import ERR, OUT, Exit

app = typer.Typer()
audit = typer.Typer(no_args_is_help=True, help="The log for the data-protection officer: who did what with which data.")
app.add_typer(audit, name="audit")


@app.command("what-leaves")
def what_leaves(
    run: Annotated[str, typer.Argument(help="A run's id, as `flfleet status --json` shows it.", metavar="RUN")],
    home: Home = DEFAULT_HOME,
    json: Json = False,
) -> None:
    """Show exactly what a run sent, and what that reveals to whom.

    Example: flfleet what-leaves 3f2a9c5e-0000-5000-8000-000000000000
    """
    from cli.leaving import what_leaves as show

    show(home, run, as_json=json)


@app.command()
def privacy(home: Home = DEFAULT_HOME, json: Json = False) -> None:
    """Show what each data set has given away: tasks, submissions, and the sum of their epsilons.

    Example: flfleet privacy
    """
    from cli.leaving import show_privacy

    show_privacy(home, as_json=json)


@audit.command("log")
def audit_log(
    last: Annotated[int | None, typer.Option(min=1, help="Only so many, the newest.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task's.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only this data set's.")] = None,
    home: Home = DEFAULT_HOME,
    json: Json = False,
) -> None:
    """Print the log: what was trained on which data, what was sent when to whom, who approved, which key was used.

    Example: flfleet audit log --dataset chestxray --json
    """
    from cli.audit import show_log

    show_log(home, last=last, task=task, dataset=dataset, as_json=json)


@audit.command("check")
def audit_check(
    known: Annotated[str | None, typer.Option(help="A last hash that was noted down earlier.", metavar="HASH")] = None,
    home: Home = DEFAULT_HOME,
    json: Json = False,
) -> None:
    """Check that no entry was changed or left out, and print the last hash.

    Example: flfleet audit check --known 9f86d081884c7d65..
    """
    from cli.audit import check_log

    raise typer.Exit(Exit.OK if check_log(home, known, as_json=json) else Exit.FAILED)


@app.command()
def join(
    consortium: Annotated[Path, typer.Argument(help="The consortium's file.", metavar="CONSORTIUM-FILE")],
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask: for scripts that have checked the addresses.")
    ] = False,
    home: Home = DEFAULT_HOME,
) -> None:
    """Show a consortium's parties and their fingerprints, and trust them after a yes: fills fleet.toml's trust lists.

    Example: flfleet join consortium.json
    """
    from cli.consortium import read_consortium
    from cli.join import join as add
    from cli.join import show_parties

    parties = read_consortium(consortium)
    show_parties(home, parties)
    if not yes and not typer.confirm(
        "Have you compared these with what their owners told you by another way? Trust them"
    ):
        ERR.print("nothing was changed")
        raise typer.Exit(Exit.FAILED)
    for name, count in add(home, parties).items():
        OUT.print(f"{name}: {count} added")
    ERR.print("a worker reads its settings when it starts: restart the fleet (flfleet down, flfleet up)")
