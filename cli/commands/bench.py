"""The commands `flfleet bench`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.commands.options import DEFAULT_HOME, Home, Json
from cli.console import ERR, OUT, Exit

app = typer.Typer(invoke_without_command=True, help="Measure what is promised, beside its rivals.")
Quick = Annotated[bool, typer.Option("--quick", help="A tenth of the work.")]


class Encrypt(StrEnum):
    """Which of the learning bench's sums go through the encryption."""

    EVERY = "every"
    SAMPLE = "sample"


@app.callback()
def bench(context: typer.Context, json: Json = False, quick: Quick = False, home: Home = DEFAULT_HOME) -> None:
    """Measure what is promised, beside its rivals; without a name: curve.

    Example: flfleet bench --json
    """
    if context.invoked_subcommand is None:
        bench_curve(json, quick, home)
    elif json or quick:
        raise typer.BadParameter(f"options go behind the name: flfleet bench {context.invoked_subcommand} ...")


@app.command("curve")
def bench_curve(json: Json = False, quick: Quick = False, home: Home = DEFAULT_HOME) -> None:
    """Measure encryption and aggregation on one core beside coincurve, TenSEAL and the port limit.

    Example: flfleet bench curve --quick
    """
    from cli.bench import Suite, run_bench

    run_bench(Suite.CURVE, home, as_json=json, quick=quick)


@app.command("compress")
def bench_compress(json: Json = False, quick: Quick = False, home: Home = DEFAULT_HOME) -> None:
    """Measure compression and the vote for the next support beside plain numpy, with the memory that each takes.

    Example: flfleet bench compress --json
    """
    from cli.bench import Suite, run_bench

    run_bench(Suite.COMPRESS, home, as_json=json, quick=quick)


@app.command("pipeline")
def bench_pipeline(
    runs: Annotated[int, typer.Option(min=10, help="Runs of each repeat.")] = 200,
    queued: Annotated[str, typer.Option(help="Backlogs to measure, with commas.")] = "10,100,1000,5000",
    json: Json = False,
) -> None:
    """Measure the seven stages with trivial work beside a bare seven-stage Celery chain on the same broker.

    Example: flfleet bench pipeline --runs 500
    """
    from json import dumps

    from bench.pipeline import as_json, measure

    result = measure(runs, [int(count) for count in queued.split(",") if count], ERR.print)
    if json:
        OUT.print(dumps(as_json(result)), soft_wrap=True)


@app.command("retrain")
def bench_retrain(
    runs: Annotated[
        int, typer.Option(min=10, help="Trainings of the warm process; the others get a fortieth, five at least.")
    ] = 200,
    json: Json = False,
) -> None:
    """Measure small trainings a minute: one warm process beside a process for each.

    Example: flfleet bench retrain --runs 500
    """
    from json import dumps

    from bench.retrain import measure

    rows = measure(runs, ERR.print)
    if json:
        OUT.print(dumps({"rows": [row.as_json() for row in rows]}), soft_wrap=True)


@app.command("learning")
def bench_learning(
    workloads: Annotated[str, typer.Option(help="Networks, with commas: mlp, cnn, tumours.")] = "mlp,cnn,tumours",
    seeds: Annotated[
        int | None, typer.Option(min=1, help="At most so many seeds of each; default: all of its own.")
    ] = None,
    encrypt: Annotated[
        Encrypt, typer.Option(help="Which sums go through the encryption; sample: rounds 1, 2 and the last.")
    ] = Encrypt.SAMPLE,
    results: Annotated[Path, typer.Option(help="Folder of measurements: what it holds is not measured again.")] = Path(
        "learning-results"
    ),
    plot: Annotated[Path | None, typer.Option(help="Draw accuracy over bytes sent: an .svg or .png.")] = None,
    table: Annotated[
        Path | None, typer.Option(help="Put the table into this Markdown file, in place of the one it has.")
    ] = None,
    flwr: Annotated[
        Path | None, typer.Option(help="Folder of an environment with flwr; default: flwr beside the results.")
    ] = None,
    install_flwr: Annotated[
        bool, typer.Option("--install-flwr", help="Make that environment first, where it is absent.")
    ] = False,
    json: Json = False,
    home: Home = DEFAULT_HOME,
) -> None:
    """Measure accuracy and bytes at shares 1, 0.1, 0.03 and 0.01 beside dense FedAvg, own top-k and flwr.

    Exits with 1 where a target is missed; a sweep that was stopped goes on where it was.

    Example: flfleet bench learning --workloads tumours --seeds 2 --json
    """
    from cli.bench_learning import run_learning

    met = run_learning(
        [name.strip() for name in workloads.split(",") if name.strip()],
        seeds,
        results,
        home,
        every=encrypt is Encrypt.EVERY,
        plot=plot,
        table=table,
        flwr=flwr or results / "flwr",
        install=install_flwr,
        as_json=json,
    )
    raise typer.Exit(Exit.OK if met else Exit.FAILED)
