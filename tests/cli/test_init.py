import json
import stat
from pathlib import Path

import pytest

from cli.consortium import Consortium, Party, write_consortium
from cli.init import initialise
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
