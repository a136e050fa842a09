"""`flfleet doctor`: what is wrong before a task finds it, and what to do about each."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import redis
from rich.markup import escape
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError

from cli import doctor_site
from cli.console import OUT
from cli.finding import Finding
from pipeline.broker import is_plain_beyond_this_host, tls_options
from pipeline.curve.select import kernel
from pipeline.errors import FleetError, Misconfigured
from pipeline.parties.backend import open_tasks
from pipeline.parties.route import use
from pipeline.settings import Settings, load
from pipeline.stores.db import schema
from pipeline.stores.db.engine import open_database, transaction
from pipeline.stores.keys import identities, secret_key

_COLOURS = {"ok": "green", "warning": "yellow", "wrong": "red"}
#: Less free space than this and a training's artifacts may not fit.
_LEAST_FREE_BYTES = 2 * 1024**3


def run_doctor(home: Path, *, as_json: bool) -> bool:
    """Looks at everything and prints it. Returns whether nothing is wrong."""
    findings = examine(home)
    healthy = all(finding.verdict != "wrong" for finding in findings)
    if as_json:
        OUT.print(json.dumps({"ok": healthy, "findings": [asdict(finding) for finding in findings]}), soft_wrap=True)
        return healthy
    table = Table("what", "", "found")
    for finding in findings:
        colour = _COLOURS[finding.verdict]
        table.add_row(finding.subject, f"[{colour}]{finding.verdict}[/]", escape(finding.text))
    OUT.print(table)
    return healthy


def examine(home: Path) -> list[Finding]:
    """Every finding about a home folder."""
    try:
        settings = load(home)
        use(settings)
    except FleetError as error:
        return [Finding(subject="settings", verdict="wrong", text=str(error))]
    checks: list[tuple[str, Callable[[Settings], Iterator[Finding]]]] = [
        ("settings", _settings),
        ("trust", _trust),
        ("broker", _broker),
        ("ledger", _ledger),
        ("backend", _backend),
        ("clock", doctor_site.clock),
        ("keys", _keys),
        ("permissions", doctor_site.permissions),
        ("data", _data),
        ("disk", _disk),
        ("artifacts", doctor_site.store),
        ("flower", doctor_site.flower),
        ("stopped", doctor_site.people),
        ("privacy", doctor_site.budget),
        ("devices", _devices),
    ]
    findings: list[Finding] = []
    for subject, check in checks:
        try:
            findings += check(settings)
        except FleetError as error:
            findings.append(Finding(subject=subject, verdict="wrong", text=str(error)))
    return findings


def _settings(settings: Settings) -> Iterator[Finding]:
    path = settings.path("fleet.toml")
    if path.exists():
        yield Finding(subject="settings", verdict="ok", text=str(path))
    else:
        yield Finding(
            subject="settings",
            verdict="warning",
            text=f"{path} is not there; make it with: flfleet init, or set FLFLEET_...",
        )


def _trust(settings: Settings) -> Iterator[Finding]:
    for name in ("trusted_publishers", "trusted_aggregators", "known_miners"):
        listed = getattr(settings, name)
        text = f"{name}: {len(listed)} addresses"
        if not listed:
            text = f"{name} is empty, so no task runs; fill it in fleet.toml, or: flfleet init --consortium FILE"
        yield Finding(subject="trust", verdict="ok" if listed else "wrong", text=text)
    if settings.allow_unsigned_tasks:
        yield Finding(
            subject="trust",
            verdict="warning",
            text="allow_unsigned_tasks is on: anyone may post a task; only for tests",
        )


def _broker(settings: Settings) -> Iterator[Finding]:
    where = settings.broker.rsplit("@", 1)[-1]
    if is_plain_beyond_this_host(settings.broker):
        text = f"{where} is reached without TLS: whoever is on the network between reads and writes the queues; use rediss://"
        yield Finding(subject="broker", verdict="warning", text=text)
    try:
        with redis.Redis.from_url(
            settings.broker, socket_timeout=5, socket_connect_timeout=5, **tls_options(settings)
        ) as client:
            client.ping()
            # By INFO: an access list may forbid CONFIG.
            policy = client.info("memory").get("maxmemory_policy")
            appends = client.info("persistence").get("aof_enabled")
    except (redis.RedisError, ValueError) as error:
        advice = "it runs while `flfleet up` runs" if not settings.broker_url else "is FLFLEET_BROKER_URL right?"
        yield Finding(subject="broker", verdict="wrong", text=f"{where} does not answer ({error}); {advice}")
        return
    if policy != "noeviction":
        text = f"{where} has maxmemory-policy {policy}: it may throw messages away; set noeviction"
        yield Finding(subject="broker", verdict="warning", text=text)
    elif not appends:
        text = f"{where} keeps nothing over a restart (appendonly no): nothing is lost, but the sweep has to send all again"
        yield Finding(subject="broker", verdict="warning", text=text)
    else:
        yield Finding(subject="broker", verdict="ok", text=where)


def _ledger(settings: Settings) -> Iterator[Finding]:
    engine = open_database(settings.ledger)
    try:
        with transaction(engine) as connection:
            schema.refuse(connection, schema.fit_of(connection))
    except Misconfigured as error:
        yield Finding(subject="ledger", verdict="wrong", text=str(error))
        return
    except SQLAlchemyError as error:
        text = f"{engine.url.render_as_string()} does not open ({error}); is FLFLEET_LEDGER_URL right?"
        yield Finding(subject="ledger", verdict="wrong", text=text)
        return
    yield Finding(subject="ledger", verdict="ok", text=engine.url.render_as_string())


def _backend(settings: Settings) -> Iterator[Finding]:
    tasks = open_tasks(settings.backend_url, timeout=5.0)
    yield Finding(subject="backend", verdict="ok", text=f"{settings.backend_url}: {len(tasks)} open tasks")


def _keys(settings: Settings) -> Iterator[Finding]:
    found = identities(settings)
    if not found:
        yield Finding(
            subject="keys",
            verdict="wrong",
            text="no identity: flfleet keys new NAME, then a [[miner]] table in fleet.toml",
        )
    for identity in found:
        secret_key(settings, identity.address)
        known = identity.address in settings.known_miners
        text = f"{identity.name}: {identity.address}" + (
            "" if known else " (not in known_miners; it counts as known to itself)"
        )
        yield Finding(subject="keys", verdict="ok", text=text)


def _data(settings: Settings) -> Iterator[Finding]:
    for identity in identities(settings):
        folders = (
            sorted(path.name for path in identity.data.iterdir() if path.is_dir()) if identity.data.is_dir() else []
        )
        if folders:
            yield Finding(subject="data", verdict="ok", text=f"{identity.name}: {', '.join(folders)}")
        else:
            text = f"{identity.name}: {identity.data} holds no data set; lay it out as <data set>/images/*.npy + labels.json"
            yield Finding(subject="data", verdict="wrong", text=text)


def _disk(settings: Settings) -> Iterator[Finding]:
    place = settings.home if settings.home.exists() else Path.cwd()
    free = shutil.disk_usage(place).free
    text = f"{free / 1024**3:.1f} GiB free at {place.absolute()}"
    yield Finding(subject="disk", verdict="ok" if free >= _LEAST_FREE_BYTES else "warning", text=text)


def _devices(settings: Settings) -> Iterator[Finding]:
    import torch

    graphics = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    text = ", ".join(graphics) if graphics else f"no GPU; training runs on {os.cpu_count()} CPU cores"
    wanted = settings.device.startswith("cuda") and not graphics
    yield Finding(
        subject="devices",
        verdict="wrong" if wanted else "ok",
        text=f"{text} (FLFLEET_DEVICE={settings.device})" if wanted else text,
    )
    yield Finding(
        subject="devices", verdict="ok", text=f"curve kernel: {kernel(settings.curve_kernel, settings.cache).name}"
    )
