"""`flfleet keys new` and `keys import`: passwords from a file or a prompt, never from an argument."""

from pathlib import Path

import typer

from pipeline.errors import Misconfigured
from pipeline.protocol.signing import SecretKey
from pipeline.stores.keys import public_part, write_keystore


def given_password(file: Path | None, *, ask: bool, twice: bool) -> str | None:
    """The password of a file, or one that is typed (`twice`: to be sure of it); None: one is to be made. Raises Misconfigured."""
    if file is not None and ask and twice:
        raise Misconfigured("--password-file or --ask, not both")
    if file is not None:
        try:
            password = file.read_text().strip()
        except OSError as error:
            raise Misconfigured(f"{file}: cannot be read ({error.strerror}); it must hold the password") from None
    elif ask:
        password = str(typer.prompt("Password of the keystore", hide_input=True, confirmation_prompt=twice, err=True))
    else:
        return None
    if not password:
        raise Misconfigured("the password is empty: anyone who has the keystore has the key")
    return password


def store_key(home: Path, name: str, key: SecretKey | None, password: str | None, file: Path | None) -> str:
    """Writes `keys/NAME.json`, and the password beside it unless a file elsewhere holds it. Returns the address."""
    path = write_keystore(home / "keys" / f"{name}.json", key, password, beside=file is None)
    return public_part(path)[0]
