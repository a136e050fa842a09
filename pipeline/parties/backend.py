"""The task board: an untrusted backend's open tasks (docs/protocol.md, section 2)."""

import json
from dataclasses import dataclass
from typing import Any

from pipeline.errors import Malformed
from pipeline.parties.http import fetch_bytes
from pipeline.protocol.encodings import keccak256, to_hex
from pipeline.protocol.strict import read_json
from pipeline.protocol.task import MAX_TASK_BYTES, Task

#: Bytes of the list that are read: 64 tasks of the largest size, thousands of a usual one.
MAX_LIST_BYTES = 64 * MAX_TASK_BYTES
#: Tasks of one answer that are looked at; the rest waits for a later poll.
MAX_OPEN_TASKS = 5000


@dataclass(frozen=True, kw_only=True)
class UnreadableTask:
    """An entry of the list that is no task; the others are read all the same."""

    #: keccak256 of the entry, `0x` + hex: a name to remember it by.
    entry_hash: str
    #: What it says of itself, for people; cut, and unchecked.
    task_id: str
    round: int
    reasons: tuple[str, ...]


def open_tasks(url: str, *, timeout: float) -> list[Task | UnreadableTask]:
    """`GET {backend}/tasks/open`. Raises Retryable, or Rejected where the answer as a whole cannot be read."""
    address = f"{url.rstrip('/')}/tasks/open"
    body = read_json(fetch_bytes(address, max_bytes=MAX_LIST_BYTES, timeout=timeout))
    if not isinstance(body, list):
        raise Malformed(f"{address}: expected a list of tasks, got {type(body).__name__}")
    return [_read(entry) for entry in body[:MAX_OPEN_TASKS]]


def _read(entry: Any) -> Task | UnreadableTask:
    text = json.dumps(entry, sort_keys=True)
    try:
        if len(text) > MAX_TASK_BYTES:
            raise Malformed(f"task: larger than {MAX_TASK_BYTES} bytes")
        return Task.from_document(entry)
    except Malformed as error:
        claims = entry if isinstance(entry, dict) else {}
        task_id, number = claims.get("taskID"), claims.get("round")
        return UnreadableTask(
            entry_hash=to_hex(keccak256(text.encode())),
            task_id=task_id[:64] if isinstance(task_id, str) else "",
            round=number if isinstance(number, int) and not isinstance(number, bool) else 0,
            reasons=tuple(str(reason)[:500] for reason in error.reasons),
        )
