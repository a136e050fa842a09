"""Commands that are one process each, in the foreground: for containers, systemd units, and a terminal beside an error."""

from enum import StrEnum
from typing import Annotated

import typer

from cli.commands.options import DEFAULT_HOME, Home

app = typer.Typer()
Host = Annotated[str, typer.Option("--host", help="Address to listen on; loopback unless something guards it.")]


class Service(StrEnum):
    """What `flfleet serve` can serve."""

    BACKEND = "backend"
    PUBLISHER = "publisher"
    AGGREGATOR = "aggregator"
    FLEET = "fleet"


#: Where `flfleet localnet` has them too.
PORTS = {Service.BACKEND: 3000, Service.AGGREGATOR: 3001, Service.PUBLISHER: 3002, Service.FLEET: 5556}


@app.command()
def worker(
    pool: Annotated[str, typer.Argument(help="A stage, or control, verify, aggregate, publish.", metavar="POOL")],
    processes: Annotated[
        int | None, typer.Option(min=1, help="Processes; default: the setting `workers` for this pool, else 1.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Node name, where a host has several of a pool: train-2@%h.", show_default=False)
    ] = None,
    home: Home = DEFAULT_HOME,
) -> None:
    """Run one pool's worker in the foreground, until TERM.

    Example: FLFLEET_BROKER_URL_FILE=/run/secrets/broker_url flfleet worker train --processes 2
    """
    from cli.foreground import become, pool_processes, renamed
    from cli.programs import worker as program

    count = pool_processes(home, pool, processes)
    become(renamed(program(home.absolute(), pool, processes=count), name))


@app.command()
def beat(home: Home = DEFAULT_HOME) -> None:
    """Run beat in the foreground: the timetable of this home's roles. A second beat costs wasted polls, nothing else.

    Example: flfleet beat --home fleet
    """
    from cli.foreground import become
    from cli.programs import beat as program

    become(program(home.absolute()))


@app.command()
def flower(
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 5555,
    home: Home = DEFAULT_HOME,
) -> None:
    """Run Flower in the foreground. Beyond loopback it needs a password: FLFLEET_PAGE_PASSWORD (user flfleet).

    Example: flfleet flower --port 5555
    """
    from cli.foreground import become
    from cli.programs import flower as program
    from pipeline.settings import load

    become(program(home.absolute(), port, host, load(home).page_password))


@app.command()
def serve(
    service: Annotated[Service, typer.Argument(help="Which service.", metavar="SERVICE")],
    host: Host = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port; default: the service's own.")] = None,
    home: Home = DEFAULT_HOME,
) -> None:
    """Run one HTTP service in the foreground: backend (3000), aggregator (3001), publisher (3002), or the fleet page (5556).

    Example: flfleet serve aggregator --host 0.0.0.0 --home aggregator
    """
    from cli.foreground import become
    from cli.programs import service as program

    become(program(home.absolute(), service.value, port or PORTS[service], host))
