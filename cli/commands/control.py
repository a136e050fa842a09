"""Commands by which a person stops things, and lets them go on."""

from typing import Annotated

import typer

from cli.commands.options import DEFAULT_HOME, Home
from cli.console import ERR, Exit

app = typer.Typer()
Pool = Annotated[str | None, typer.Argument(help="A pool: fetch, data, train, ...", metavar="POOL")]
Dataset = Annotated[str | None, typer.Option(help="A data set, in every pool.")]
Everything = Annotated[bool, typer.Option("--all", help="The whole fleet.")]
Reason = Annotated[str, typer.Option(help="Why, for whoever asks later.")]


@app.command()
def pause(
    pool: Pool = None,
    dataset: Dataset = None,
    every: Everything = False,
    reason: Reason = "",
    home: Home = DEFAULT_HOME,
) -> None:
    """Let nothing new begin in a pool, over a data set, or anywhere; on every host, until `resume`. What runs goes on.

    Without a name: list what is stopped.

    Example: flfleet pause --dataset chestxray --reason "consent under review"
    """
    from cli import control

    if pool is None and dataset is None and not every:
        control.show_stops(home)
        return
    control.pause(home, *control.target(pool, dataset, everything=every), reason)


@app.command()
def resume(pool: Pool = None, dataset: Dataset = None, every: Everything = False, home: Home = DEFAULT_HOME) -> None:
    """Let go on what `pause` or `drain` stopped.

    Example: flfleet resume train
    """
    from cli import control

    control.resume(home, *control.target(pool, dataset, everything=every))


@app.command()
def drain(
    pool: Pool = None,
    dataset: Dataset = None,
    every: Everything = False,
    reason: Reason = "",
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds to wait; default: as long as it takes.")] = None,
    home: Home = DEFAULT_HOME,
) -> None:
    """Pause, and wait until nothing runs there any more: before a host is serviced, or a disk is changed.

    Example: flfleet drain train --timeout 3600
    """
    from cli import control

    at_rest = control.drain(home, *control.target(pool, dataset, everything=every), reason, timeout=timeout)
    raise typer.Exit(Exit.OK if at_rest else Exit.FAILED)


@app.command()
def leave(
    task: Annotated[str, typer.Argument(help="The task.")],
    undo: Annotated[bool, typer.Option("--undo", help="Take part in later rounds again.")] = False,
    reason: Reason = "",
    home: Home = DEFAULT_HOME,
) -> None:
    """Leave a task on purpose: no more rounds of it. A submission that is out already cannot be taken back.

    Example: flfleet leave task_025 --reason "study ended"
    """
    from cli import control

    if undo:
        control.come_back(home, task)
        ERR.print(f"{task}: later rounds are judged like any other's")
        return
    dropped, out = control.leave(home, task, reason)
    ERR.print(f"{task} left; {len(dropped)} runs given up before anything of them was sent")
    for run in out:
        ERR.print(
            f"round {run.round} of {run.miner_name}: its submission may be out; it stays in that round's sum, "
            "and its receipt is still asked for"
        )
