import json
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.consortium import Consortium, Party, write_consortium
from cli.init import ask, initialise
from cli.main import app
from pipeline.errors import Misconfigured
from pipeline.protocol.signing import SecretKey
from pipeline.settings import load
from pipeline.stores.keys import identities, secret_key, write_keystore


@pytest.fixture
def consortium_file(tmp_path: Path) -> Path:
    def party(port: int) -> Party:
        key = SecretKey.generate()
        return Party(address=key.address, public_key=key.public_key, url=f"http://127.0.0.1:{port}")

    path = tmp_path / "consortium.json"
    miners = [SecretKey.generate().address for _ in range(3)]
    write_consortium(
        path, Consortium(backend="http://127.0.0.1:3000", publisher=party(3002), aggregator=party(3001), miners=miners)
    )
    return path


def test_a_fresh_home_has_a_key_a_data_folder_and_trusts_nobody(tmp_path: Path) -> None:
    (address,) = initialise(tmp_path / "home", ["ward-7"], None, None, sample_digits=False)
    settings = load(tmp_path / "home")
    (identity,) = identities(settings)
    assert (identity.name, identity.address) == ("ward-7", address)
    assert identity.data.is_dir()
    assert settings.trusted_publishers == settings.trusted_aggregators == settings.known_miners == []


def test_the_secret_key_opens_with_the_password_beside_it_and_only_its_owner_may_read_them(tmp_path: Path) -> None:
    (address,) = initialise(tmp_path, ["ward-7"], None, None, sample_digits=False)
    assert secret_key(load(tmp_path), address).address == address
    for name in ("ward-7.json", "ward-7.password"):
        assert stat.S_IMODE((tmp_path / "keys" / name).stat().st_mode) == 0o600


def test_a_consortium_file_becomes_the_three_trust_lists(tmp_path: Path, consortium_file: Path) -> None:
    initialise(tmp_path / "home", ["ward-7"], consortium_file, None, sample_digits=False)
    settings, written = load(tmp_path / "home"), json.loads(consortium_file.read_text())
    assert settings.trusted_publishers == [written["publisher"]["address"]]
    assert settings.trusted_aggregators == [written["aggregator"]["address"]]
    assert settings.known_miners == written["miners"]
    assert settings.backend_url == written["backend"]


def test_a_consortium_file_whose_address_is_not_that_of_its_key_is_refused(
    tmp_path: Path, consortium_file: Path
) -> None:
    document = json.loads(consortium_file.read_text())
    document["aggregator"]["address"] = document["publisher"]["address"]
    consortium_file.write_text(json.dumps(document))
    with pytest.raises(Misconfigured, match="is not the address of its publicKey"):
        initialise(tmp_path / "home", ["ward-7"], consortium_file, None, sample_digits=False)
    assert not (tmp_path / "home" / "fleet.toml").exists()


def test_keystores_of_a_folder_are_taken_over_as_identities(tmp_path: Path) -> None:
    made = [write_keystore(tmp_path / "made" / f"miner-{number}.json") for number in (1, 2)]
    addresses = initialise(tmp_path / "home", [], None, tmp_path / "made", sample_digits=False)
    assert [one.name for one in identities(load(tmp_path / "home"))] == [path.stem for path in made]
    assert [secret_key(load(tmp_path / "home"), address).address for address in addresses] == addresses


def test_an_existing_home_is_never_overwritten(tmp_path: Path) -> None:
    initialise(tmp_path, ["ward-7"], None, None, sample_digits=False)
    before = (tmp_path / "fleet.toml").read_text()
    with pytest.raises(Misconfigured, match="is there already"):
        initialise(tmp_path, ["ward-8"], None, None, sample_digits=False)
    assert (tmp_path / "fleet.toml").read_text() == before


def test_a_person_at_a_terminal_is_asked(
    tmp_path: Path, consortium_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["ward-7 ward-8", str(consortium_file)])
    monkeypatch.setattr("cli.init.typer.prompt", lambda *_arguments, **_options: next(answers))
    yes = iter([True, False])
    monkeypatch.setattr("cli.init.typer.confirm", lambda *_arguments, **_options: next(yes))
    assert ask(tmp_path / "home") == (["ward-7", "ward-8"], consortium_file, False)


def test_whoever_has_not_compared_the_fingerprints_trusts_nobody(
    tmp_path: Path, consortium_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["miner", str(consortium_file)])
    monkeypatch.setattr("cli.init.typer.prompt", lambda *_arguments, **_options: next(answers))
    monkeypatch.setattr("cli.init.typer.confirm", lambda *_arguments, **_options: False)
    assert ask(tmp_path / "home") == (["miner"], None, False)


def test_a_name_that_would_leave_the_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.init.typer.prompt", lambda *_arguments, **_options: "../ward")
    with pytest.raises(Misconfigured, match="letters, digits"):
        ask(tmp_path / "home")


def test_a_keystore_is_imported_and_its_password_may_stay_in_a_file_elsewhere(tmp_path: Path) -> None:
    source = write_keystore(tmp_path / "wallet.json")
    (tmp_path / "fleet.toml").write_text(
        '[[miner]]\nname = "a"\nkey = "keys/a.json"\npassword_file = "wallet.password"\n'
        '[[miner]]\nname = "b"\nkey = "keys/b.json"\n'
    )
    arguments = ["keys", "import", "a", str(source), "--password-file", str(tmp_path / "wallet.password")]
    result = CliRunner().invoke(app, [*arguments, "--home", str(tmp_path)])
    assert result.exit_code == 0, result.output
    address = result.stdout.strip()
    assert not (tmp_path / "keys/a.password").exists()
    typed = CliRunner().invoke(
        app, ["keys", "new", "b", "--ask", "--home", str(tmp_path)], input="long one\nlong one\n"
    )
    assert typed.exit_code == 0, typed.output
    assert "long one" not in typed.output
    assert (tmp_path / "keys/b.password").read_text() == "long one\n"
    assert secret_key(load(tmp_path), address).address == address
    other = identities(load(tmp_path))[1].address
    assert secret_key(load(tmp_path), other).address == other


def test_a_wrong_password_imports_nothing(tmp_path: Path) -> None:
    source = write_keystore(tmp_path / "wallet.json")
    result = CliRunner().invoke(app, ["keys", "import", "a", str(source), "--home", str(tmp_path)], input="wrong\n")
    assert isinstance(result.exception, Misconfigured)
    assert not (tmp_path / "keys").exists()
