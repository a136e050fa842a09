"""The commands `flfleet compose`: what compose.yaml needs before `docker compose up`."""

from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from cli.commands.options import DEFAULT_HOME, Home, Json
from cli.console import ERR, OUT

app = typer.Typer(no_args_is_help=True, help="Containers: make what compose.yaml mounts.")
State = Annotated[
    Path, typer.Option("--state", help="Folder of fleet/, secrets/ and localnet/; FLFLEET_STATE names it.")
]


@app.command("init")
def compose_init(
    state: State = Path("."),
    miner: Annotated[list[str] | None, typer.Option("--miner", help="Name of an identity; repeatable.")] = None,
    consortium: Annotated[Path | None, typer.Option(help="consortium.json, turned into the trust lists.")] = None,
    localnet: Annotated[
        bool, typer.Option("--localnet", help="Also the other parties, and five sample miners.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a fleet's home with the passwords set apart, and the secrets of broker and ledger.

    Example: flfleet compose init --miner ward-7 --consortium consortium.json && docker compose up --detach
    """
    from cli.composition import initialise, initialise_localnet

    if localnet:
        names = miner or [f"hospital-{number}" for number in range(1, 6)]
        addresses = initialise_localnet(state.absolute(), names)
    else:
        addresses = initialise(state.absolute(), miner or [], consortium)
    if json:
        OUT.print(dumps({"state": str(state.absolute()), "addresses": addresses}), soft_wrap=True)
        return
    for address in addresses:
        OUT.print(address)
    profile = " --profile localnet" if localnet else ""
    ERR.print(f"{state / 'fleet'} and {state / 'secrets'} are ready. Next: docker compose{profile} up --detach")


@app.command("plan")
def compose_plan(
    home: Home = DEFAULT_HOME,
    rounds: Annotated[int, typer.Option(min=1, help="Most rounds.")] = 3,
    all_rounds: Annotated[bool, typer.Option("--all-rounds", help="Go on when the accuracy is reached.")] = False,
    json: Json = False,
) -> None:
    """Store the first task of the profile `localnet` in its publisher's ledger; the same again changes nothing.

    Example: flfleet compose plan --home localnet/publisher --rounds 2
    """
    from cli.composition import plan_first_task
    from cli.task_document import Wanted

    wanted = Wanted(
        task_id="demo",
        dataset="mnist",
        rounds=rounds,
        min_miners=3,
        shares=(1.0, 0.25),
        expected_accuracy=0.85,
        all_rounds=all_rounds,
    )
    plan_first_task(home.absolute(), wanted)
    if json:
        OUT.print(dumps({"taskID": wanted.task_id, "rounds": rounds}))
    else:
        ERR.print(f"task {wanted.task_id} is planned, {rounds} rounds at most")
