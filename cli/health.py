"""`flfleet health`: probes for supervisors, containers and clusters. Light: nothing of Celery or torch is imported.

live    its loop goes round; says nothing of the broker, whose absence no restart mends
ready   it could work: broker and ledger answer
"""

from pathlib import Path

from cli.console import ERR, Exit
from pipeline.errors import Misconfigured
from pipeline.stores.heartbeats import heartbeat_age, heartbeat_file, heartbeats

#: A broker that hangs is not to hold a probe up for longer.
PROBE_SECONDS = 3.0


def live(home: Path, role: str | None, most_seconds: float) -> Exit:
    """Whether each role's loop goes round. Raises Misconfigured for a role that does not exist."""
    files = heartbeats(home) if role is None else [heartbeat_file(home, _file_role(role))]
    if not files:
        ERR.print(f"nothing of {home} has run on this host yet")
        return Exit.FAILED
    stale = [text for path in files if (text := _complaint(path, most_seconds)) is not None]
    for text in stale:
        ERR.print(text)
    return Exit.FAILED if stale else Exit.OK


def ready(home: Path) -> Exit:
    """Whether broker and ledger answer. Raises Misconfigured."""
    # Not before: a liveness probe needs none of it.
    from pipeline.settings import load

    settings = load(home)
    complaints = [text for text in (_broker(settings.broker), _ledger(settings.ledger)) if text is not None]
    for text in complaints:
        ERR.print(text, markup=False)
    return Exit.UNAVAILABLE if complaints else Exit.OK


def _file_role(role: str) -> str:
    kind, _, pool = role.partition(":")
    if role == "beat" or (kind == "worker" and pool and "/" not in pool):
        return role.replace(":", "-")
    raise Misconfigured(f"no role {role!r}; there are: beat, and worker:POOL, such as worker:train")


def _complaint(path: Path, most_seconds: float) -> str | None:
    age = heartbeat_age(path)
    role = path.name.partition("@")[0]
    if age is None:
        return f"{role}: no heartbeat yet ({path})"
    return None if age <= most_seconds else f"{role}: last heartbeat {age:.0f} s ago, at most {most_seconds:g} s"


def _broker(url: str) -> str | None:
    import redis

    options = {"socket_timeout": PROBE_SECONDS, "socket_connect_timeout": PROBE_SECONDS}
    try:
        with redis.Redis.from_url(url, **options) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        return f"broker {url.rsplit('@', 1)[-1]} does not answer: {error}"
    return None


def _ledger(url: str) -> str | None:
    from sqlalchemy import create_engine, make_url, text
    from sqlalchemy.exc import SQLAlchemyError

    try:
        parsed = make_url(url)
        sqlite = parsed.drivername.startswith("sqlite")
        if sqlite and not Path(parsed.database or "").exists():
            return f"ledger {parsed.database} is not there yet"
        limit = {"timeout": PROBE_SECONDS} if sqlite else {"connect_timeout": int(PROBE_SECONDS)}
        engine = create_engine(parsed, connect_args=limit)
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
        engine.dispose()
    except SQLAlchemyError as error:
        return f"ledger does not answer: {error.__class__.__name__}"
    return None
