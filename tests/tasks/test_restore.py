"""docs/operations.md, Backup: what is copied while the fleet works, and a fleet that goes on from the copy."""

import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from pipeline.stores.db.engine import open_database
from pipeline.stores.fleet.ledger import RunLedger
from pipeline.stores.fleet.records import State
from tests.databases import ledger_url as ledger_url
from tests.signed_tasks import MINERS, make_task
from tests.worker_fleet import broker as broker
from tests.worker_fleet import environment as environment
from tests.worker_fleet import ledger as ledger
from tests.worker_fleet import lines, wait_until
from tests.worker_fleet import start_worker as start_worker
from tests.worker_fleet import sweep as sweep

pytestmark = pytest.mark.services

RUNS = 8


def test_a_fleet_goes_on_from_a_backup_that_was_made_while_it_worked(
    ledger, ledger_url, start_worker, sweep, environment, tmp_path
):
    worker = start_worker("first")
    run_ids = {
        ledger.add_run(make_task(taskID=f"task_{number}"), MINERS[0].address, "miner", max_submissions=99)
        for number in range(RUNS)
    }
    wait_until(lambda: accepted(ledger), 60, sweep)
    artifacts = Path(environment["FLFLEET_HOME"]) / "artifacts"

    # The ledger first: one that is older than the artifacts is safe.
    restore = backed_up(ledger_url, tmp_path)
    shutil.copytree(artifacts, tmp_path / "artifacts.copy")
    wait_until(lambda: len(accepted(ledger)) > RUNS // 2, 60, sweep)
    worker.kill()
    worker.wait()

    # The disk is lost, and with it all that the fleet did since.
    shutil.rmtree(artifacts)
    ledger.close()
    restore()
    shutil.copytree(tmp_path / "artifacts.copy", artifacts)
    with closing(RunLedger(open_database(ledger_url), lease_seconds=3.0)) as restored:
        before = {run.run_id: run for run in restored.runs()}
        assert set(before) == run_ids
        done = accepted(restored)
        assert done
        assert len(done) < RUNS
        submissions = len(lines(tmp_path, "sent"))
        start_worker("second")
        wait_until(lambda: len(accepted(restored)) == RUNS, 60, sweep)

    sent = [(run, payload) for _, run, payload in lines(tmp_path, "sent")]
    # What the backup knows as accepted is not sent again; of what it knows as made, the same is sent.
    assert not done & {run for run, _ in sent[submissions:]}
    noted = {run_id: run.artifacts["payload"] for run_id, run in before.items() if "payload" in run.artifacts}
    assert all(payload == noted[run] for run, payload in sent[submissions:] if run in noted)
    assert {run for run, _ in sent} == run_ids


def accepted(book: RunLedger) -> set[str]:
    return {run.run_id for run in book.runs() if run.state == State.ACCEPTED}


def backed_up(url: str, folder: Path) -> Callable[[], None]:
    """Backs the ledger up by its own database's tool. Returns what puts the copy in the place of a ledger that is lost."""
    address = make_url(url)
    if address.get_backend_name() == "sqlite":
        place, copy = Path(str(address.database)), folder / "copy.sqlite"
        with closing(sqlite3.connect(place)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)

        def restore_file() -> None:
            for path in place.parent.glob(place.name + "*"):
                path.unlink()
            shutil.copy(copy, place)

        return restore_file

    server = address.set(drivername="postgresql", query={}).render_as_string(hide_password=False)
    schema, dump = url.rpartition("%3D")[2], folder / "fleet.dump"
    subprocess.run(
        [tool("pg_dump"), "--format=custom", f"--schema={schema}", f"--file={dump}", server], check=True, timeout=60
    )

    def restore_schema() -> None:
        engine = open_database(url)
        with engine.begin() as db:
            db.execute(text(f"DROP SCHEMA {schema} CASCADE"))
        engine.dispose()
        subprocess.run([tool("pg_restore"), "--exit-on-error", f"--dbname={server}", dump], check=True, timeout=60)

    return restore_schema


def tool(name: str) -> str:
    """The server's own version of it, where Debian has several."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    found = str(versions[-1]) if versions else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found
