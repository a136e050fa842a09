"""Commands over a fleet's life: make it, start it, look at it, stop it."""

import sys
from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from cli.commands.options import DEFAULT_HOME, Home, Json
from cli.console import ERR, OUT, Exit

app = typer.Typer()


@app.command()
def init(
    home: Home = DEFAULT_HOME,
    miner: Annotated[list[str] | None, typer.Option("--miner", help="Name of an identity; repeatable.")] = None,
    consortium: Annotated[Path | None, typer.Option(help="consortium.json, turned into the trust lists.")] = None,
    keys: Annotated[Path | None, typer.Option(help="Folder of keystores to take over as identities.")] = None,
    sample_digits: Annotated[bool, typer.Option(help="Give every identity a part of 5,000 real MNIST digits.")] = False,
    json: Json = False,
) -> None:
    """Make a home folder: a commented fleet.toml, keys, a data folder per identity. Without options, at a terminal, it asks.

    Example: flfleet init --miner ward-7 --consortium consortium.json
    """
    from cli.init import ask, initialise

    if not (miner or consortium or keys or sample_digits) and sys.stdin.isatty():
        miner, consortium, sample_digits = ask(home)
    addresses = initialise(home, miner or [], consortium, keys, sample_digits=sample_digits)
    if json:
        OUT.print(dumps({"home": str(home.absolute()), "addresses": addresses}), soft_wrap=True)
        return
    for address in addresses:
        OUT.print(address)
    ERR.print(f"{home / 'fleet.toml'} written. Next: put data into its data folders, then flfleet doctor, flfleet up")


@app.command()
def up(
    home: Home = DEFAULT_HOME,
    flower_port: Annotated[int, typer.Option(help="Flower's port; 0: none.")] = 5555,
    page_port: Annotated[int, typer.Option(help="The fleet page's port; 0: none.")] = 5556,
    listen: Annotated[
        str, typer.Option(help="Address of both; beyond loopback they ask for a password.")
    ] = "127.0.0.1",
) -> None:
    """Start broker (unless one is named), workers, beat, Flower and the fleet page, and keep them running until Ctrl-C.

    Example: flfleet up --home fleet
    """
    from cli.up import Pages, run_fleet

    run_fleet(home, Pages(listen=listen, flower_port=flower_port, page_port=page_port))


@app.command()
def down(home: Home = DEFAULT_HOME, json: Json = False) -> None:
    """Stop what `up`, `localnet` or `demo --keep` left running over a home folder.

    Example: flfleet down --home fleet
    """
    from cli.supervision import Supervisor

    supervisor = Supervisor(home)
    was_up = supervisor.pid() is not None
    supervisor.stop()
    if json:
        OUT.print(dumps({"home": str(home.absolute()), "stopped": was_up}), soft_wrap=True)
    else:
        ERR.print("stopped" if was_up else f"nothing was running over {home}")


@app.command()
def status(home: Home = DEFAULT_HOME, json: Json = False) -> None:
    """Show every run: its stage, attempts and errors; and the tasks that were refused, with the reasons.

    Example: flfleet status --json | jq '.runs[] | select(.state == "dead")'
    """
    from cli.status import show_status

    show_status(home, as_json=json)


@app.command()
def doctor(home: Home = DEFAULT_HOME, json: Json = False) -> None:
    """Check broker, ledger, backend, keys, data and devices: what is wrong, and what to do.

    Example: flfleet doctor --home fleet
    """
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
def upgrade(
    home: Home = DEFAULT_HOME,
    check: Annotated[bool, typer.Option("--check", help="Only look; exit code 1 where an upgrade is due.")] = False,
    json: Json = False,
) -> None:
    """Bring the ledger's schema to this version's. Safe while the version before still runs; the same again changes nothing.

    Example: flfleet upgrade --check || flfleet upgrade
    """
    from cli.upgrading import upgrade_ledger

    raise typer.Exit(Exit.OK if upgrade_ledger(home, check=check, as_json=json) else Exit.FAILED)


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
