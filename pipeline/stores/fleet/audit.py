"""The data-protection officer's log, in the ledger: what was trained on which data, sent when to whom, approved by whom, key use.

An entry is written in the transaction of what it tells, so none is missing. Each line holds the hash of the one before: whoever has
noted a hash down outside can tell later that nothing before it was changed or left out. The tables refuse updates and deletes; who
owns the database can still remove that rule, but not make a noted hash come out again.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, select

from pipeline.errors import Corrupt
from pipeline.stores.db.session import Prepared, Session
from pipeline.stores.fleet.base import LedgerBase
from pipeline.stores.fleet.tables import audit

#: What the first line names as the one before.
BEGINNING = "0" * 64
_LOCK = 7_301_004
_PAGE = 500
_as_line = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line."""

    number: int
    #: Canonical JSON: number, at (ISO 8601, UTC), event, the event's own members, previous.
    line: str
    #: SHA-256 of the line, 64 hex digits.
    hash: str

    @property
    def members(self) -> dict[str, Any]:
        """The line, read."""
        found: dict[str, Any] = json.loads(self.line)
        return found

    def as_json_line(self) -> str:
        """The line with its own hash as last member."""
        return json.dumps(self.members | {"hash": self.hash}, ensure_ascii=False)


class AuditLog(LedgerBase):
    """Appending, reading, checking."""

    def __init__(self, engine: Engine, *, lease_seconds: float = 30.0, max_attempts: int = 5) -> None:
        """As `LedgerBase`."""
        super().__init__(engine, lease_seconds=lease_seconds, max_attempts=max_attempts)
        self._last = Prepared(engine, select(audit.c.number, audit.c.hash).order_by(audit.c.number.desc()).limit(1))
        self._append = Prepared(engine, audit.insert())

    def record(self, event: str, **members: Any) -> None:
        """Appends an entry of its own; on disk when it returns."""
        with self._quick(durable=True) as db:
            self._record(db, event, **members)

    def audit_entries(self, first: int = 1) -> Iterator[Entry]:
        """All lines from a number on, in order, a page at a time."""
        while True:
            page = select(audit).where(audit.c.number >= first).order_by(audit.c.number).limit(_PAGE)
            with self._reading() as db:
                rows = db.execute(page).all()
            for row in rows:
                yield Entry(number=row.number, line=row.line, hash=row.hash)
            if len(rows) < _PAGE:
                return
            first = rows[-1].number + 1

    def check_audit(self, known: str | None = None) -> Entry | None:
        """Walks the whole chain; the last entry, None where there is none.

        Raises Corrupt, naming the first line that is changed or missing, or where no line has the hash `known`, that a person
        noted down earlier.
        """
        last: Entry | None = None
        seen = known is None or known == BEGINNING
        for entry in self.audit_entries():
            before = BEGINNING if last is None else last.hash
            number = 1 if last is None else last.number + 1
            if entry.number != number:
                raise Corrupt(f"audit log: line {number} is missing")
            if hash_of(entry.line) != entry.hash or entry.members.get("previous") != before:
                raise Corrupt(f"audit log: line {entry.number} was changed, or the one before it")
            seen = seen or entry.hash == known
            last = entry
        if not seen:
            raise Corrupt(f"audit log: no line has the hash {known}: what was noted down is not in this log")
        return last

    def _record(self, db: Session, event: str, **members: Any) -> None:
        self._lock(db, _LOCK)
        last = self._last.run(db, {}).fetchone()
        number, before = (1, BEGINNING) if last is None else (last[0] + 1, last[1])
        now = time.time()
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}Z"
        content = {"number": number, "at": at, "event": event, **members, "previous": before}
        line = _as_line(content)
        self._append.run(db, {"number": number, "line": line, "hash": hash_of(line)})


def hash_of(line: str) -> str:
    """A line's hash, 64 hex digits."""
    return hashlib.sha256(b"flfleet audit 1\n" + line.encode()).hexdigest()
