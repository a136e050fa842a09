import json

import pytest
import sentry_sdk
import structlog

from tasks import incidents
from tests.incident_server import server as server
from tests.signed_tasks import MINERS, make_task
from tests.worker_fleet import broker as broker
from tests.worker_fleet import environment as environment
from tests.worker_fleet import ledger as ledger
from tests.worker_fleet import ledger_url as ledger_url
from tests.worker_fleet import start_worker as start_worker
from tests.worker_fleet import sweep as sweep
from tests.worker_fleet import wait_until

SECRET = MINERS[0].secret.hex()


@pytest.fixture
def receiver(server):
    """What it was sent by this process."""
    incidents.install(server[0])
    yield server[1]
    sentry_sdk.get_client().close()
    sentry_sdk.init()


def test_a_bug_is_told_with_its_run_and_without_any_key(receiver):
    def work(password: str) -> None:
        local_key = SECRET
        raise RuntimeError(f"database postgresql://fleet:{password}@db/ledger refused 0x{local_key}, token=abc123")

    with structlog.contextvars.bound_contextvars(run="the-run", stage="submit", miner=MINERS[0].address):
        try:
            work("hunter2")
        except RuntimeError as error:
            sentry_sdk.capture_exception(error)
    sentry_sdk.flush(5)
    (text,) = [one for one in receiver if "RuntimeError" in one]
    event = json.loads(text.splitlines()[2])
    assert event["tags"] == {"run": "the-run", "stage": "submit", "miner": MINERS[0].address}
    assert event["exception"]["values"][-1]["value"] == (
        "database postgresql://[hidden]@db/ledger refused [hex], token=[hidden]"
    )
    for private in (SECRET, "hunter2", "abc123", '"vars"'):
        assert private not in text


def test_what_is_not_known_to_be_harmless_is_left_out():
    event = {"message": "m", "extra": {"sys.argv": ["x"]}, "request": {"data": "d"}, "user": {"id": 1}, "contexts": {}}
    assert incidents.scrubbed(event) == {"message": "m", "tags": {}}


#: A stage with a bug that quotes a key.
BUG = """
def run(job):
    key = "{key}"
    raise RuntimeError("cannot open the key " + key)
"""


@pytest.mark.services
def test_a_bug_in_a_forked_worker_is_told_too(server, ledger, start_worker, sweep, tmp_path):
    dsn, received = server
    (tmp_path / "stages/fetch.py").write_text(BUG.replace("{key}", SECRET))
    start_worker("all", SENTRY_DSN=dsn)
    run_id = ledger.add_run(make_task(), MINERS[0].address, "ward")
    wait_until(lambda: any("RuntimeError" in text for text in received), 60, sweep)
    told = next(text for text in received if "RuntimeError" in text)
    assert "cannot open the key [hex]" in told
    assert run_id in told
    assert SECRET not in "".join(received)
