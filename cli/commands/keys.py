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
) -> None:
    """Make a key pair: an encrypted keystore and its password file; print the address."""
    from pipeline.stores.keys import public_part, write_keystore

    path = write_keystore(home / "keys" / f"{name}.json")
    OUT.print(public_part(path)[0])
    ERR.print(f'{path} written. Add it to fleet.toml: [[miner]] name = "{name}", key = "keys/{name}.json", data = ...')


@app.command("show")
def keys_show(home: Home = DEFAULT_HOME, json: Json = False) -> None:
    """Show the addresses and public keys of this fleet's identities."""
    from cli.status import show_keys

    show_keys(home, as_json=json)
