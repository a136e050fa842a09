import shutil
import subprocess
import sys
import time
from email.utils import formatdate

import pytest

from cli import doctor_site
from cli.doctor import examine
from cli.init import initialise
from pipeline.settings import load
from pipeline.stores.fleet.controls import Kind
from pipeline.stores.fleet.ledger import RunLedger
from tests.scripted_server import Script, serving


@pytest.fixture
def home(tmp_path):
    initialise(tmp_path / "home", ["ward-7"], None, None, sample_digits=False)
    return tmp_path / "home"


def findings(check, home) -> dict[str, str]:
    """Verdict to text of a check's last findings of each verdict."""
    return {finding.verdict: finding.text for finding in check(load(home))}


@pytest.mark.parametrize(("offset", "verdict"), [(0, "ok"), (-120, "warning"), (3600, "warning")])
def test_a_clock_that_differs_from_the_backends_is_found(home, monkeypatch, offset, verdict):
    # The server's own Date header comes first; this one is the script's.
    monkeypatch.setattr(
        "http.server.BaseHTTPRequestHandler.date_time_string", lambda *_: formatdate(time.time() + offset, usegmt=True)
    )
    with serving(Script(answers=[(200, [], {})])) as script:
        monkeypatch.setenv("FLFLEET_BACKEND_URL", script.url)
        found = findings(doctor_site.clock, home)
    assert set(found) == {verdict}
    assert offset == 0 or ("ahead of" if offset < 0 else "behind") in found[verdict]


def test_a_key_that_others_may_read_is_found(home):
    assert set(findings(doctor_site.permissions, home)) == {"ok"}
    (home / "keys/ward-7.password").chmod(0o644)
    assert f"chmod 600 {home / 'keys/ward-7.password'}" in findings(doctor_site.permissions, home)["wrong"]


def test_the_store_is_written_and_read_and_nothing_stays(home):
    assert set(findings(doctor_site.store, home)) == {"ok"}
    assert not [path for path in (home / "artifacts").rglob("*") if path.is_file()]


def test_a_store_that_cannot_be_written_is_wrong(home, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("FLFLEET_ARTIFACTS_URL", f"{(tmp_path / 'file').as_uri()}/artifacts")
    (wrong,) = [one for one in examine(home) if one.subject == "artifacts"]
    assert wrong.verdict == "wrong"


@pytest.mark.parametrize(
    ("options", "verdict"), [(["--address=127.0.0.1"], "ok"), ([], "wrong"), (["--basic_auth=a:b"], "warning")]
)
def test_a_flower_that_everyone_reaches_is_found(home, options, verdict):
    code = "import time; time.sleep(30)"
    process = subprocess.Popen([sys.executable, "-c", code, "celery", "flower", *options])
    try:
        verdicts = {
            finding.verdict for finding in doctor_site.flower(load(home)) if f"process {process.pid} " in finding.text
        }
        assert verdicts == {verdict}
    finally:
        process.kill()
        process.wait()


def test_what_a_person_stopped_is_shown(home):
    book = RunLedger.open(load(home))
    book.stop(Kind.POOL, "train", by="anna", reason="service")
    book.close()
    assert findings(doctor_site.people, home) == {"warning": "pool train was stopped by anna: service"}


def test_a_plain_broker_on_another_host_is_a_warning_also_while_it_is_away(home, monkeypatch):
    def found(url: str) -> list[tuple[str, str]]:
        monkeypatch.setenv("FLFLEET_BROKER_URL", url)
        return [(one.verdict, one.text) for one in examine(home) if one.subject == "broker"]

    plain, away = found("redis://:hunter2@broker.invalid:6379/0")
    assert plain[0] == "warning"
    assert "without TLS" in plain[1]
    assert away[0] == "wrong"
    assert "does not answer" in away[1]
    assert "hunter2" not in plain[1] + away[1]
    # Neither one that is encrypted nor one on this host is.
    for url in ("rediss://broker.invalid:6379/0", "redis://127.0.0.1:1/0"):
        assert [verdict for verdict, _ in found(url)] == ["wrong"]


def test_every_part_is_looked_at_even_where_others_fail(home):
    shutil.rmtree(home / "keys")
    subjects = {one.subject for one in examine(home)}
    assert {"settings", "trust", "broker", "ledger", "backend", "keys", "disk", "artifacts", "devices"} <= subjects
