"""Reads compose.yaml as a container engine does: variables, profiles, and for each service what it runs, mounts and waits for."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\})")
_SECONDS = {"s": 1.0, "m": 60.0, "ms": 0.001}


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A file or folder of the host, a named volume (a source without a slash), or a tmpfs (no source)."""

    source: str | None
    target: str
    writable: bool
    #: Of a tmpfs: size, mode, uid, gid.
    options: str = ""


@dataclass(frozen=True, kw_only=True)
class Health:
    """How an engine asks whether a service is healthy."""

    command: tuple[str, ...]
    interval: float
    timeout: float
    retries: int
    start_period: float


@dataclass(frozen=True, kw_only=True)
class Service:
    """One service of the file."""

    name: str
    image: str
    #: Whether the file says how to build the image.
    is_own: bool
    command: tuple[str, ...]
    environment: Mapping[str, str]
    mounts: Sequence[Mount]
    #: Numbers of user and group.
    user: tuple[int, int]
    read_only: bool
    #: Service to condition.
    waits_for: Mapping[str, str]
    health: Health | None
    replicas: int
    stop_signal: str
    stop_seconds: float


def read(path: Path, variables: Mapping[str, str], profiles: Sequence[str]) -> dict[str, Service]:
    """The services that `docker compose --profile ...` would start."""
    document = _filled(yaml.safe_load(path.read_text()), variables)
    chosen = {
        name: entry
        for name, entry in document["services"].items()
        if not entry.get("profiles") or set(entry["profiles"]) & set(profiles)
    }
    return {name: _service(name, entry, document) for name, entry in chosen.items()}


def in_order(services: Mapping[str, Service]) -> Iterator[Service]:
    """The services, each after those it waits for."""
    done: set[str] = set()
    while len(done) < len(services):
        ready = [one for one in services.values() if one.name not in done and set(one.waits_for) <= done]
        if not ready:
            raise ValueError(f"services wait for each other: {sorted(set(services) - done)}")
        yield from ready
        done |= {one.name for one in ready}


def _service(name: str, entry: Mapping[str, Any], document: Mapping[str, Any]) -> Service:
    user, _, group = str(entry["user"]).partition(":")
    depends = entry.get("depends_on", {})
    return Service(
        name=name,
        image=entry["image"],
        is_own="build" in entry,
        command=tuple(str(word) for word in entry.get("command", ())),
        environment={key: str(value) for key, value in entry.get("environment", {}).items()},
        mounts=[*_mounts(entry, document)],
        user=(int(user), int(group)),
        read_only=entry.get("read_only", False),
        waits_for={other: condition["condition"] for other, condition in depends.items()},
        health=_health(entry["healthcheck"]) if "healthcheck" in entry else None,
        replicas=int(entry.get("deploy", {}).get("replicas", 1)),
        stop_signal=entry.get("stop_signal", "SIGTERM"),
        stop_seconds=_seconds(entry.get("stop_grace_period", "10s")),
    )


def _mounts(entry: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[Mount]:
    for text in entry.get("tmpfs", ()):
        target, _, options = text.partition(":")
        yield Mount(source=None, target=target, writable=True, options=options)
    for text in entry.get("volumes", ()):
        source, target, *mode = text.split(":")
        yield Mount(source=source, target=target, writable=mode != ["ro"])
    for secret in entry.get("secrets", ()):
        name, target = (secret, None) if isinstance(secret, str) else (secret["source"], secret["target"])
        yield Mount(source=document["secrets"][name]["file"], target=target or f"/run/secrets/{name}", writable=False)


def _health(entry: Mapping[str, Any]) -> Health:
    kind, *words = entry["test"]
    return Health(
        command=tuple(words) if kind == "CMD" else ("/bin/sh", "-c", *words),
        interval=_seconds(entry["interval"]),
        timeout=_seconds(entry["timeout"]),
        retries=entry["retries"],
        start_period=_seconds(entry.get("start_period", "0s")),
    )


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    """Every `${NAME:-default}` replaced, and `$$` made a dollar sign, as the compose specification has it."""
    if isinstance(value, dict):
        return {key: _filled(entry, variables) for key, entry in value.items()}
    if isinstance(value, list):
        return [_filled(entry, variables) for entry in value]
    if isinstance(value, str):
        return _VARIABLE.sub(
            lambda found: (variables.get(found["name"]) or found["default"] or "") if found["name"] else "$", value
        )
    return value


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+)(ms|s|m)", text)
    if found is None:
        raise ValueError(f"not a duration: {text}")
    return int(found[1]) * _SECONDS[found[2]]
