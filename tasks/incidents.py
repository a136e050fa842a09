"""Sentry by setting: bugs and errors of this fleet, told to a server of the operator's, without what is nobody's business.

Sent are the error, its place in the code and the run it belongs to. Not sent: local variables (keys, patients' data), requests,
environment, host users. Texts are scrubbed of what looks like a key or a password, since an error of a library may quote one.
"""

import re
from collections.abc import Mapping
from typing import Any

import sentry_sdk
import structlog
from sentry_sdk.integrations.celery import CeleryIntegration

#: 64 hex digits are a hash at best and a secret key at worst.
_HEX = re.compile(r"(?:0x)?[0-9a-fA-F]{64,}")
_CREDENTIALS = re.compile(r"(\w+://)[^/\s@]*@")
_NAMED = re.compile(r"(?i)((?:password|passwd|secret|token|private_key|authorization)\s*[=:]\s*)\S+")
#: What an event may hold; the rest is left out.
_KEPT = frozenset(
    {
        "event_id",
        "timestamp",
        "platform",
        "level",
        "logger",
        "logentry",
        "message",
        "exception",
        "tags",
        "release",
        "environment",
        "sdk",
        "transaction",
    }
)


def install(dsn: str) -> None:
    """Starts the reporting of this process and of those that it forks."""
    sentry_sdk.init(
        dsn=dsn,
        before_send=scrubbed,
        # Celery's alone: what happens elsewhere in these processes is logged, and logged errors are told.
        integrations=[CeleryIntegration(propagate_traces=False)],
        auto_enabling_integrations=False,
        include_local_variables=False,
        include_source_context=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        server_name="",
        auto_session_tracking=False,
    )


def scrubbed(event: Any, _hint: Any = None) -> Any:
    """An event as it may leave: only known members, every text without keys and passwords, and the run as tags."""
    kept = {name: value for name, value in event.items() if name in _KEPT}
    bound = structlog.contextvars.get_contextvars()
    tags: dict[str, str] = {name: str(bound[name]) for name in ("run", "stage", "miner") if name in bound}
    # Celery tells of an exception when the stage's own context is over; a stage's message is called RUN.STAGE.TOKEN.
    message = str((event.get("tags") or {}).get("celery_task_id", "")).split(".")
    if len(message) == 3:
        tags = {"run": message[0], "stage": message[1]} | tags
    return _clean(kept) | {"tags": tags}


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        text = _CREDENTIALS.sub(r"\1[hidden]@", _HEX.sub("[hex]", value))
        return _NAMED.sub(r"\1[hidden]", text)
    if isinstance(value, Mapping):
        return {name: _clean(part) for name, part in value.items() if name != "vars"}
    return [_clean(part) for part in value] if isinstance(value, (list, tuple)) else value
