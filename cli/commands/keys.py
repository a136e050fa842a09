"""The commands `flfleet keys`."""

from typing import Annotated

import typer

from cli.commands.options import DEFAULT_HOME, Home, Json
from cli.console import ERR, OUT

app = typer.Typer(no_args_is_help=True, help="Identities: make and show key pairs.")


@app.command("new")
def keys_new(
    name: Annotated[str, typer.Argument(help="Name of the identity.")],
    home: Home = DEFAULT_HOME,
    json: Json = False,
) -> None:
    """Make a key pair: an encrypted keystore and its password file; print the address.

    Example: flfleet keys new ward-7 --home fleet
    """
    from json import dumps

    from pipeline.stores.keys import public_part, write_keystore

    path = write_keystore(home / "keys" / f"{name}.json")
    address = public_part(path)[0]
    OUT.print(dumps({"name": name, "address": address, "key": str(path)}) if json else address, soft_wrap=True)
    ERR.print(f'{path} written. Add it to fleet.toml: [[miner]] name = "{name}", key = "keys/{name}.json", data = ...')


@app.command("show")
def keys_show(home: Home = DEFAULT_HOME, json: Json = False) -> None:
    """Show the addresses and public keys of this fleet's identities.

    Example: flfleet keys show --json
    """
    from cli.status import show_keys

    show_keys(home, as_json=json)
