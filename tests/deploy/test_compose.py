"""compose.yaml against the public schema of the compose specification, and what it promises."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from sqlalchemy import URL, Connection, create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from typer.main import get_command

from cli.composition import PARTIES, initialise, initialise_localnet, write_secrets
from cli.main import app
from cli.programs import fleet, party_workers
from deploy.compose_file import Service, in_order, read
from pipeline.errors import Misconfigured
from pipeline.settings import Settings, load
from pipeline.stores.keys import identities, party_key, secret_key
from tests.databases import POSTGRES

FILE = Path(__file__).parents[2] / "compose.yaml"
PASSWORD_POOLS = {"submit", "verify"}
DATA_POOLS = {"control", "data", "train", "train-gpu", "verify"}


def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return loaded


def services(*profiles: str) -> dict[str, Service]:
    return read(FILE, {}, profiles)


def schema() -> dict[str, Any]:
    """check-jsonschema carries compose-spec's own."""
    file = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    loaded: dict[str, Any] = json.loads(file.read_text())
    return loaded


def test_the_file_stands_the_public_schema() -> None:
    jsonschema.validate(document(), schema())


def test_a_wrong_file_would_be_found() -> None:
    wrong = document()
    wrong["services"]["train"]["comand"] = ["worker"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema())


def test_every_process_that_up_and_localnet_start_has_a_service() -> None:
    named = {program.name for program in (*fleet(Path("/fleet"), {}), *party_workers(Path("/a"), Path("/p")))}
    assert named | {"backend", "aggregator", "publisher", "flower", "fleet-page"} <= set(services("localnet"))


def test_every_command_is_one_of_the_program() -> None:
    known = get_command(app)
    for service in services("localnet", "gpu").values():
        if service.is_own:
            assert service.command[0] in known.commands, service.name  # type: ignore[attr-defined]


def test_every_variable_is_a_setting() -> None:
    for service in services("localnet", "gpu").values():
        for name in service.environment:
            if name.startswith("FLFLEET_"):
                setting = name.removeprefix("FLFLEET_").removesuffix("_FILE").lower()
                assert setting in Settings.model_fields, f"{service.name}: {name}"


def test_no_process_is_root_or_writes_outside_of_its_mounts() -> None:
    for name, entry in document()["services"].items():
        assert entry["user"].split(":")[0] != "0", name
        assert entry["read_only"] is True, name
        assert entry["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in entry["security_opt"], name
        assert entry["deploy"]["resources"]["limits"]["memory"], name


def test_every_service_that_stays_says_whether_it_is_healthy() -> None:
    for name, service in services("localnet", "gpu").items():
        assert (service.health is None) == (name in {"upgrade", "first-task"}), name


def test_passwords_and_data_are_mounted_only_where_they_are_used() -> None:
    mounted = {name: {mount.target for mount in one.mounts} for name, one in services("gpu").items()}
    assert {name for name, targets in mounted.items() if "/fleet/passwords" in targets} == PASSWORD_POOLS
    assert {name for name, targets in mounted.items() if "/fleet/data" in targets} == DATA_POOLS


def test_what_holds_secrets_and_data_cannot_be_written() -> None:
    for name, service in services("localnet", "gpu").items():
        for mount in service.mounts:
            if mount.source is not None and "/" in mount.source:
                assert not mount.writable, f"{name}: {mount.target}"


def test_pools_that_see_data_and_need_nobody_have_no_way_out() -> None:
    for name in ("data", "train", "train-gpu", "compress", "commit", "encrypt"):
        assert document()["services"][name]["networks"] == ["stores"], name
    assert document()["networks"]["stores"] == {"internal": True}


def test_the_broker_persists_and_never_evicts() -> None:
    command = " ".join(services()["redis"].command)
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_no_port_is_open_beyond_loopback() -> None:
    for name, entry in document()["services"].items():
        for port in entry.get("ports", []):
            assert port.startswith("127.0.0.1:"), name


def test_services_start_after_those_they_wait_for() -> None:
    order = [service.name for service in in_order(services("localnet"))]
    assert order.index("postgres") < order.index("upgrade") < order.index("train")


def test_init_makes_everything_that_is_mounted(tmp_path: Path) -> None:
    initialise_localnet(tmp_path, ["one", "two", "three"])
    for service in read(FILE, {"FLFLEET_STATE": str(tmp_path)}, ["localnet", "gpu"]).values():
        for mount in service.mounts:
            if mount.source is not None and mount.source.startswith("/"):
                assert Path(mount.source).exists(), f"{service.name}: {mount.source}"


def test_a_home_with_passwords_apart_opens_its_keys(tmp_path: Path) -> None:
    initialise_localnet(tmp_path, ["one", "two", "three"])
    settings = load(tmp_path / "fleet")
    for identity in identities(settings):
        assert secret_key(settings, identity.address).address == identity.address
    assert list((tmp_path / "fleet" / "keys").glob("*.password")) == []
    assert party_key(load(tmp_path / "localnet" / "publisher")).address in settings.trusted_publishers


def test_init_leaves_a_home_and_its_secrets_as_they_are(tmp_path: Path) -> None:
    initialise(tmp_path, ["ward-7"], None)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert initialise(tmp_path, ["ward-7"], None) == []
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_init_refuses_a_home_whose_passwords_every_pool_would_see(tmp_path: Path) -> None:
    initialise(tmp_path, ["ward-7"], None)
    (tmp_path / "fleet" / "keys" / "ward-7.password").write_text("open")
    with pytest.raises(Misconfigured, match="set password_file"):
        initialise(tmp_path, [], None)


def test_folders_of_secrets_are_closed_to_others(tmp_path: Path) -> None:
    initialise(tmp_path, ["ward-7"], None)
    for name in ("fleet", "secrets"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0


@pytest.mark.skipif(not POSTGRES, reason="FLFLEET_TEST_POSTGRES_URL names no PostgreSQL")
def test_a_partys_password_opens_its_own_ledger_and_no_other_one(tmp_path: Path) -> None:
    assert POSTGRES is not None
    write_secrets(tmp_path / "secrets")
    statements = (tmp_path / "secrets/databases.sql").read_text().split(";\n")
    root = create_engine(POSTGRES, isolation_level="AUTOCOMMIT")
    with root.connect() as db:
        for statement in filter(str.strip, statements):
            db.execute(text(statement))
    try:
        for name in ("fleet", *PARTIES):
            address = make_url((tmp_path / f"secrets/{name}_ledger_url").read_text().strip())
            assert (address.username, address.database) == (name, name)
            ours = address.set(host=root.url.host, port=root.url.port)
            with connected(ours) as db:
                db.execute(text("CREATE TABLE own (id int)"))
            for other in {"fleet", *PARTIES} - {name}:
                with (
                    pytest.raises(OperationalError, match="permission denied for database"),
                    connected(ours.set(database=other)),
                ):
                    pass
    finally:
        with root.connect() as db:
            for name in ("fleet", *PARTIES):
                db.execute(text(f"DROP DATABASE {name}"))
                db.execute(text(f"DROP ROLE {name}"))
        root.dispose()


@contextmanager
def connected(address: URL) -> Iterator[Connection]:
    engine = create_engine(address)
    try:
        with engine.connect() as db:
            yield db
    finally:
        engine.dispose()
