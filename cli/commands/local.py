"""Commands that run other parties too, on this machine: a demo, a network to try against, faults on purpose."""

from pathlib import Path
from typing import Annotated

import typer

from cli.commands.options import Json
from cli.console import Exit

app = typer.Typer()


@app.command()
def demo(
    miners: Annotated[int, typer.Option(min=3, max=20, help="Identities that train.")] = 5,
    rounds: Annotated[int, typer.Option(min=1, max=50, help="Rounds to run.")] = 3,
    json: Json = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything up and print the pages' addresses.")] = False,
    home: Annotated[Path | None, typer.Option(help="Folder to use; default: a temporary one.")] = None,
) -> None:
    """Run a whole federation on this machine with real images, and check what came out.

    Example: flfleet demo --miners 5 --rounds 3
    """
    from cli.demo import run_demo

    ok = run_demo(miners=miners, rounds=rounds, as_json=json, keep=keep, home=home)
    raise typer.Exit(Exit.OK if ok else Exit.FAILED)


@app.command()
def localnet(
    home: Annotated[Path, typer.Option(help="Folder of the three parties' homes.")] = Path("localnet"),
    task_id: Annotated[str, typer.Option(help="The task's name.")] = "task_001",
    dataset: Annotated[str, typer.Option(help="Data set that miners must hold.")] = "mnist",
    miners: Annotated[int, typer.Option(min=3, help="Keys to make where no roster is given.")] = 5,
    rounds: Annotated[int, typer.Option(min=1, help="Most rounds.")] = 3,
    backend_port: Annotated[int, typer.Option(help="0: a free one.")] = 3000,
    aggregator_port: Annotated[int, typer.Option(help="0: a free one.")] = 3001,
    publisher_port: Annotated[int, typer.Option(help="0: a free one.")] = 3002,
    ratio: Annotated[float, typer.Option(help="Share of the coordinates from round 2 on.")] = 0.25,
    pack: Annotated[int | None, typer.Option(help="Coordinates a curve point; default: as many as stay cheap.")] = None,
    roster: Annotated[Path | None, typer.Option(help="File with the miners' addresses.")] = None,
    min_miners: Annotated[int, typer.Option(min=3, help="Least submissions of a round.")] = 3,
    expected_accuracy: Annotated[float, typer.Option(min=0, max=1, help="Where the task ends.")] = 0.85,
    validation_data: Annotated[
        Path | None, typer.Option(help="The aggregator's labelled data; default: MNIST digits.")
    ] = None,
) -> None:
    """Start a backend, a publisher and an aggregator on this machine, with a task; miners may come from anywhere.

    Example: flfleet localnet --miners 5, then flfleet init --consortium localnet/consortium.json --keys localnet/miners
    """
    from cli.localnet import Ports, run_localnet
    from cli.task_document import Wanted

    plan = Wanted(
        task_id=task_id,
        dataset=dataset,
        rounds=rounds,
        min_miners=min_miners,
        shares=(1.0, ratio),
        pack=pack,
        expected_accuracy=expected_accuracy,
    )
    ports = Ports(backend=backend_port, aggregator=aggregator_port, publisher=publisher_port)
    run_localnet(home, plan, roster if roster else miners, ports, validation_data)


@app.command()
def chaos(
    runs: Annotated[int, typer.Option(min=1, help="Runs under fire, in tasks of five miners.")] = 100,
    seconds: Annotated[float, typer.Option(min=5, help="How long faults go on.")] = 120.0,
    seed: Annotated[int | None, typer.Option(help="Repeats the faults of an earlier run; default: a new one.")] = None,
    json: Json = False,
    home: Annotated[Path | None, typer.Option(help="Folder to use and keep; default: a temporary one.")] = None,
) -> None:
    """Kill, stop, wipe, fill and damage a whole fleet and network on this machine, and count what came of every run.

    Example: flfleet chaos --runs 100 --seconds 60 --seed 7
    """
    from cli.chaos import run_chaos

    ok = run_chaos(runs=runs, seconds=seconds, seed=seed, as_json=json, home=home)
    raise typer.Exit(Exit.OK if ok else Exit.FAILED)
