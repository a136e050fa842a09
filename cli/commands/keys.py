"""The commands `flfleet keys`."""

from pathlib import Path
from typing import Annotated

import typer

from cli.commands.options import DEFAULT_HOME, Home, Json
from cli.console import ERR, OUT

app = typer.Typer(no_args_is_help=True, help="Identities: make and show key pairs.")


PasswordFile = Annotated[
    Path | None, typer.Option(help="File that holds the password and stays where it is; none: written beside the key.")
]
Ask = Annotated[bool, typer.Option("--ask", help="Ask for the password at the terminal.")]


@app.command("new")
def keys_new(
    name: Annotated[str, typer.Argument(help="Name of the identity.")],
    password_file: PasswordFile = None,
    ask: Ask = False,
    home: Home = DEFAULT_HOME,
    json: Json = False,
) -> None:
    """Make a key pair: an encrypted keystore and its password file; print the address.

    Example: flfleet keys new ward-7 --password-file /run/secrets/ward-7
    """
    from cli.keys import given_password, store_key

    address = store_key(home, name, None, given_password(password_file, ask=ask, twice=True), password_file)
    _written(home, name, address, as_json=json)


@app.command("import")
def keys_import(
    name: Annotated[str, typer.Argument(help="Name of the identity.")],
    keystore: Annotated[Path, typer.Argument(help="A Web3 keystore (JSON) of any wallet.", metavar="KEYSTORE")],
    password_file: PasswordFile = None,
    home: Home = DEFAULT_HOME,
    json: Json = False,
) -> None:
    """Take a keystore over as an identity; its password comes from a file, or is asked for.

    Example: flfleet keys import ward-7 wallet.json
    """
    from cli.keys import given_password, store_key
    from pipeline.stores.keys import decrypted

    password = given_password(password_file, ask=password_file is None, twice=False)
    assert password is not None
    address = store_key(home, name, decrypted(keystore, password), password, password_file)
    _written(home, name, address, as_json=json)


def _written(home: Path, name: str, address: str, *, as_json: bool) -> None:
    from json import dumps

    key = str(home / "keys" / f"{name}.json")
    OUT.print(dumps({"name": name, "address": address, "key": key}) if as_json else address, soft_wrap=True)
    ERR.print(
        f"{home / 'keys' / name}.json written. Add it to fleet.toml: "
        f'[[miner]] name = "{name}", key = "keys/{name}.json", data = ... (and password_file, where it lies elsewhere)',
        soft_wrap=True,
        markup=False,
    )


@app.command("show")
def keys_show(home: Home = DEFAULT_HOME, json: Json = False) -> None:
    """Show the addresses and public keys of this fleet's identities.

    Example: flfleet keys show --json
    """
    from cli.status import show_keys

    show_keys(home, as_json=json)
