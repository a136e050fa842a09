"""The command `flfleet`. Each command is a few lines here: read options, call one function, print."""

from pathlib import Path
from typing import Annotated

import typer

from cli.console import ERR, OUT, Exit
from pipeline.errors import FleetError, Misconfigured, Retryable

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="A fleet of federated-learning miners on Celery: train on private data, send only encrypted updates.",
)
keys_app = typer.Typer(no_args_is_help=True, help="Identities: make and show key pairs.")
app.add_typer(keys_app, name="keys")
evidence_app = typer.Typer(no_args_is_help=True, help="Blocks that were found INVALID.")
app.add_typer(evidence_app, name="evidence")
bench_app = typer.Typer(invoke_without_command=True, help="Measure what is promised, beside its rivals.")
app.add_typer(bench_app, name="bench")
runs_app = typer.Typer(no_args_is_help=True, help="Runs that ended without a submission: try again, or give up.")
app.add_typer(runs_app, name="runs")
data_app = typer.Typer(no_args_is_help=True, help="Data sets: count and look at them before a task does.")
app.add_typer(data_app, name="data")

Home = Annotated[
    Path, typer.Option("--home", envvar="FLFLEET_HOME", help="The fleet's home folder.", show_default="./fleet")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Runs = Annotated[list[str] | None, typer.Argument(help="Ids of runs, as `flfleet status --json` shows them.")]
AllDead = Annotated[bool, typer.Option("--all-dead", help="Every run that is dead.")]
Quick = Annotated[bool, typer.Option("--quick", help="A tenth of the work.")]
DEFAULT_HOME = Path("fleet")


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


@app.command()
def init(
    home: Home = DEFAULT_HOME,
    miner: Annotated[list[str] | None, typer.Option("--miner", help="Name of an identity; repeatable.")] = None,
    consortium: Annotated[Path | None, typer.Option(help="consortium.json, turned into the trust lists.")] = None,
    keys: Annotated[Path | None, typer.Option(help="Folder of keystores to take over as identities.")] = None,
    sample_digits: Annotated[bool, typer.Option(help="Give every identity a part of 5,000 real MNIST digits.")] = False,
) -> None:
    """Make a home folder: a commented fleet.toml, keys, a data folder per identity.

    Example: flfleet init --miner ward-7 --consortium consortium.json
    """
    from cli.init import initialise

    addresses = initialise(home, miner or [], consortium, keys, sample_digits=sample_digits)
    for address in addresses:
        OUT.print(address)
    ERR.print(f"{home / 'fleet.toml'} written. Next: put data into its data folders, then flfleet doctor, flfleet up")


@app.command()
def up(
    home: Home = DEFAULT_HOME,
    flower_port: Annotated[int, typer.Option(help="Flower's port on loopback; 0: none.")] = 5555,
) -> None:
    """Start broker (unless one is named), workers, beat and Flower, and keep them running until Ctrl-C.

    Example: flfleet up --home fleet
    """
    from cli.up import run_fleet

    run_fleet(home, flower_port)


@app.command()
def down(home: Home = DEFAULT_HOME) -> None:
    """Stop what `up`, `localnet` or `demo --keep` left running over a home folder."""
    from cli.supervision import Supervisor

    Supervisor(home).stop()


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
    from cli.localnet import Plan, Ports, run_localnet

    plan = Plan(
        task_id=task_id,
        dataset=dataset,
        rounds=rounds,
        min_miners=min_miners,
        ratio=ratio,
        pack=pack,
        expected_accuracy=expected_accuracy,
    )
    ports = Ports(backend=backend_port, aggregator=aggregator_port, publisher=publisher_port)
    run_localnet(home, plan, roster if roster else miners, ports, validation_data)


@app.command()
def status(home: Home = DEFAULT_HOME, json: Json = False) -> None:
    """Show every run: its stage, attempts and errors; and the tasks that were refused, with the reasons."""
    from cli.status import show_status

    show_status(home, as_json=json)


@app.command()
def doctor(home: Home = DEFAULT_HOME, json: Json = False) -> None:
    """Check broker, ledger, backend, keys, data and devices: what is wrong, and what to do."""
    from cli.doctor import run_doctor

    raise typer.Exit(Exit.OK if run_doctor(home, as_json=json) else Exit.FAILED)


@app.command()
def warmup(
    home: Home = DEFAULT_HOME,
    kernel: Annotated[str, typer.Option(help="auto, ifma or scalar.")] = "auto",
    json: Json = False,
) -> None:
    """Compile the curve kernel and make its tables ahead, into the cache folder: for images and deploys.

    Example: FLFLEET_CACHE_DIR=/var/cache/flfleet flfleet warmup
    """
    from cli.warmup import warm_up

    warm_up(home, kernel, as_json=json)


@app.command()
def rewards(home: Home = DEFAULT_HOME, json: Json = False) -> None:
    """Show what each identity was paid: its revealed score and its share of every settled round."""
    from cli.verification import show_rewards

    show_rewards(home, as_json=json)


@app.command()
def verify(
    block: Annotated[str | None, typer.Argument(help="A block's address.", metavar="BLOCK-URL")] = None,
    chain: Annotated[
        str | None, typer.Option(help="Walk a task's blocks back to its first task.", metavar="TASK")
    ] = None,
    home: Home = DEFAULT_HOME,
    json: Json = False,
) -> None:
    """Check an aggregator: every check of a block that a miner makes, or a task's whole chain of blocks. Needs no key.

    Example: flfleet verify http://aggregator:3001/aggregator/blocks/0x..
    """
    from cli.verification import verify_block, verify_chain
    from tasks.logs import configure

    configure()
    if (block is None) == (chain is None):
        raise Misconfigured("verify takes either a block's address or --chain TASK")
    if block is not None:
        holds = verify_block(home, block, as_json=json)
    else:
        assert chain is not None
        holds = verify_chain(home, chain, as_json=json)
    raise typer.Exit(Exit.OK if holds else Exit.FAILED)


@evidence_app.command("show")
def evidence_show(
    block: Annotated[str | None, typer.Argument(help="Only this block's, whole.", metavar="BLOCK-HASH")] = None,
    home: Home = DEFAULT_HOME,
    json: Json = False,
) -> None:
    """Show the blocks that this fleet found INVALID, and what is wrong with each."""
    from cli.verification import show_evidence

    show_evidence(home, block, as_json=json)


@bench_app.callback()
def bench(context: typer.Context, json: Json = False, quick: Quick = False, home: Home = DEFAULT_HOME) -> None:
    """Measure what is promised, beside its rivals; without a name: curve.

    Example: flfleet bench --json
    """
    if context.invoked_subcommand is None:
        bench_curve(json, quick, home)
    elif json or quick:
        raise typer.BadParameter(f"options go behind the name: flfleet bench {context.invoked_subcommand} ...")


@bench_app.command("curve")
def bench_curve(json: Json = False, quick: Quick = False, home: Home = DEFAULT_HOME) -> None:
    """Measure encryption and aggregation on one core beside coincurve, TenSEAL and the port limit.

    Example: flfleet bench curve --quick
    """
    from cli.bench import Suite, run_bench

    run_bench(Suite.CURVE, home, as_json=json, quick=quick)


@bench_app.command("compress")
def bench_compress(json: Json = False, quick: Quick = False, home: Home = DEFAULT_HOME) -> None:
    """Measure compression and the vote for the next support beside plain numpy, with the memory that each takes.

    Example: flfleet bench compress --json
    """
    from cli.bench import Suite, run_bench

    run_bench(Suite.COMPRESS, home, as_json=json, quick=quick)


@bench_app.command("pipeline")
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


@app.command()
def prune(
    home: Home = DEFAULT_HOME,
    older_than: Annotated[
        float | None, typer.Option(min=0, help="Days after a run's end; default: the setting retention_days.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; remove nothing.")] = False,
    json: Json = False,
) -> None:
    """Remove artifacts that no run needs any more. A score's opening stays until its reveal window has closed.

    Example: flfleet prune --older-than 2 --dry-run
    """
    from cli.runs import prune_home

    prune_home(home, days=older_than, dry_run=dry_run, as_json=json)


@runs_app.command("retry")
def runs_retry(run: Runs = None, all_dead: AllDead = False, home: Home = DEFAULT_HOME) -> None:
    """Queue dead, rejected or waiting runs again, with fresh attempts, from their first unfinished stage.

    Example: flfleet runs retry --all-dead
    """
    from cli.runs import retry_runs

    ERR.print(
        f"{retry_runs(home, run or [], all_dead=all_dead)} runs queued again; the next sweep sends them on their way"
    )


@runs_app.command("drop")
def runs_drop(run: Runs = None, all_dead: AllDead = False, home: Home = DEFAULT_HOME) -> None:
    """Give runs up. A worker that has one of them can write nothing more.

    Example: flfleet runs drop 3f2a9c5e-0000-5000-8000-000000000000
    """
    from cli.runs import drop_runs

    ERR.print(f"{drop_runs(home, run or [], all_dead=all_dead)} runs dropped")


@keys_app.command("new")
def keys_new(
    name: Annotated[str, typer.Argument(help="Name of the identity.")],
    home: Home = DEFAULT_HOME,
) -> None:
    """Make a key pair: an encrypted keystore and its password file; print the address."""
    from pipeline.stores.keys import public_part, write_keystore

    path = write_keystore(home / "keys" / f"{name}.json")
    OUT.print(public_part(path)[0])
    ERR.print(f'{path} written. Add it to fleet.toml: [[miner]] name = "{name}", key = "keys/{name}.json", data = ...')


@keys_app.command("show")
def keys_show(home: Home = DEFAULT_HOME, json: Json = False) -> None:
    """Show the addresses and public keys of this fleet's identities."""
    from cli.status import show_keys

    show_keys(home, as_json=json)


DataFolder = Annotated[Path | None, typer.Option("--data", help="Folder of data sets; default: every identity's own.")]


@data_app.command("check")
def data_check(
    dataset: Annotated[str | None, typer.Argument(help="Name of one; default: all.")] = None,
    data: DataFolder = None,
    home: Home = DEFAULT_HOME,
    json: Json = False,
) -> None:
    """Read data sets whole: how many samples, classes and patients, which shape, and what is wrong with which file.

    Example: flfleet data check chestxray
    """
    from cli.data import check_data

    raise typer.Exit(Exit.OK if check_data(home, dataset, data, as_json=json) else Exit.FAILED)


@data_app.command("show")
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


def main() -> None:
    """Runs the command; an error of ours is one sentence and an exit code, not a traceback."""
    try:
        app()
    except Retryable as error:
        ERR.print(f"[red]error:[/] {error}", soft_wrap=True)
        raise SystemExit(Exit.UNAVAILABLE) from None
    except (Misconfigured, FleetError) as error:
        ERR.print(f"[red]error:[/] {error}", soft_wrap=True)
        raise SystemExit(Exit.MISCONFIGURED) from None
    except KeyboardInterrupt:
        raise SystemExit(Exit.INTERRUPTED) from None
