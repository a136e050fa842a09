"""The commands `flfleet retrain` and `flfleet cancel`."""

from pathlib import Path
from typing import Annotated

import typer

from cli.commands.options import DEFAULT_HOME, Home, Json
from cli.console import ERR, OUT, Exit

app = typer.Typer()


@app.command()
def retrain(
    task: Annotated[list[str] | None, typer.Argument(help="Tasks to train again.", metavar="TASK")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every task that this fleet has a run of.")] = False,
    dataset: Annotated[str | None, typer.Option(help="Every task over this data set.")] = None,
    file: Annotated[Path | None, typer.Option(help="A list of tasks, one a line.")] = None,
    priority: Annotated[int, typer.Option(min=0, max=9, help="Among trainings like these: 0 comes first.")] = 5,
    wait: Annotated[bool, typer.Option("--wait", help="Show progress until all are through, then report.")] = False,
    batch: Annotated[str | None, typer.Option(help="Look at this batch, or `newest`; queue nothing.")] = None,
    report: Annotated[Path | None, typer.Option(help="CSV file: every training, a line each.")] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG or SVG file: loss and time of every task.")] = None,
    home: Home = DEFAULT_HOME,
    json: Json = False,
) -> None:
    """Train the models of tasks again on this fleet's own data, for what it tells: loss, accuracy, time. Nothing is sent.

    Rounds with a deadline always go first. Ctrl-C leaves the trainings running; `flfleet cancel` ends them.

    Example: flfleet retrain --dataset chestxray --wait --report retrained.csv
    """
    from cli import retrain as its

    if batch is None:
        wanted = its.Wanted(tasks=task or [], everything=every, dataset=dataset, file=file)
        batch = its.enqueue(home, wanted, priority)
        if not wait:
            if json:
                its.report(home, batch, csv=report, plot=plot, as_json=True)
            else:
                OUT.print(batch)
            return
    elif task or every or dataset or file:
        raise typer.BadParameter("--batch looks at trainings that are queued already: name no tasks beside it")
    elif batch == "newest":
        batch = its.newest_batch(home)
    if wait:
        its.follow(home, batch)
    raise typer.Exit(Exit.OK if its.report(home, batch, csv=report, plot=plot, as_json=json) else Exit.FAILED)


@app.command()
def cancel(
    run: Annotated[list[str] | None, typer.Argument(help="Ids of trainings, batches or runs.", metavar="RUN")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every local training that is not through.")] = False,
    task: Annotated[str | None, typer.Option(help="Every local training of this task.")] = None,
    home: Home = DEFAULT_HOME,
) -> None:
    """End local trainings, or give runs up. A worker that has one of them can write nothing more.

    Example: flfleet cancel --all
    """
    from cli.retrain import cancel as end

    trainings, runs = end(home, run or [], everything=every, task=task)
    ERR.print(f"{trainings} trainings cancelled, {runs} runs dropped")
