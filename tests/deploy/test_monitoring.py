"""Rules and dashboard against a real scrape: a name that nothing exports is an alert that never fires."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import requests
import yaml

from network.fleet import build
from tests.fleet_history import settings_of, write_history
from tests.serving import serving

MONITORING = Path(__file__).parents[2] / "deploy/monitoring"
#: What Prometheus itself makes for every target.
OWN = {"up"}


@pytest.fixture(scope="module")
def scraped(tmp_path_factory) -> str:
    settings = settings_of(tmp_path_factory.mktemp("fleet"))
    write_history(settings).close()
    app = build(settings, lambda queues: dict.fromkeys(queues, 0))
    with serving(app) as url:
        return requests.get(f"{url}/metrics", timeout=10).text


@pytest.fixture(scope="module")
def exported(scraped) -> set[str]:
    """The names that can be asked for; a family without a sample on this machine (GPUs) is known by its type."""
    names = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", scraped, re.MULTILINE):
        names |= {f"{name}_bucket", f"{name}_count", f"{name}_sum"} if kind == "histogram" else {name}
    return names


def rules() -> list[dict]:
    document = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def targets() -> list[str]:
    document = json.loads((MONITORING / "dashboard.json").read_text())
    return [target["expr"] for panel in document["panels"] for target in panel["targets"]]


def names_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:flfleet_[a-z_]+|up(?=\{))", expression))


def test_every_rule_asks_for_what_is_exported(exported):
    asked = {name for rule in rules() for name in names_in(rule["expr"])}
    assert asked
    assert asked - OWN <= exported


def test_every_panel_asks_for_what_is_exported(exported):
    for expression in targets():
        assert names_in(expression), expression
        assert names_in(expression) <= exported


def test_the_dashboard_leaves_nothing_out_that_is_exported(exported):
    shown = {name for expression in targets() for name in names_in(expression)}
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in exported} - {
        re.sub("_(bucket|sum|count)$", "", name) for name in shown
    } == set()


def test_labels_that_rules_and_panels_choose_by_are_there(scraped):
    expressions = [rule["expr"] for rule in rules()] + targets()
    chosen = {pair for text in expressions for pair in re.findall(r'(\w+)="([a-z ]+)"', text)} - {("job", "flfleet")}
    quoted = {pair for line in scraped.splitlines() for pair in re.findall(r'(\w+)="([^"]*)"', line)}
    # label_replace names its labels by position, not by `=`.
    missing = {pair for pair in chosen if pair not in quoted and pair != ("pool", "control")}
    assert missing == set()


def test_every_alert_says_what_it_means_and_stands_in_the_manual():
    manual = (MONITORING.parents[1] / "docs/seeing.md").read_text()
    for rule in rules():
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert f"`{rule['alert']}`" in manual


def test_panels_lie_beside_each_other_and_not_over():
    taken = set()
    for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & cells
        assert max(x for x, _ in cells) < 24
        taken |= cells


def promtool(*arguments: str, text: str | None = None, cwd: Path = MONITORING) -> subprocess.CompletedProcess[str]:
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    return subprocess.run(
        [path, *arguments], input=text, capture_output=True, text=True, cwd=cwd, timeout=60, check=False
    )


def test_promtool_finds_the_rules_well(tmp_path):
    done = promtool("check", "rules", "alerts.yaml")
    assert done.returncode == 0, done.stderr + done.stdout


def test_promtool_finds_the_scrape_well(scraped):
    done = promtool("check", "metrics", text=scraped)
    assert done.returncode == 0, done.stderr + done.stdout


def test_promtool_parses_every_panel(tmp_path):
    made = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(targets())]
    text = json.dumps({"groups": [{"name": "panels", "rules": made}]}).replace("$__rate_interval", "1m")
    (tmp_path / "panels.yaml").write_text(text)
    done = promtool("check", "rules", "panels.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout


def test_promtool_sees_the_alerts_fire_and_be_silent():
    done = promtool("test", "rules", str(Path(__file__).with_name("alerts_test.yaml")))
    assert done.returncode == 0, done.stderr + done.stdout
