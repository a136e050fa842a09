import pytest

from network.fleet import build
from pipeline.stores.db.owners import this_process
from tests.browsers import PHONE, complaints, opened, overflow
from tests.browsers import chromium as chromium
from tests.fleet_history import HOSTILE, settings_of, write_history
from tests.serving import serving

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    settings = settings_of(tmp_path_factory.mktemp("fleet"))
    ledger = write_history(settings)
    with serving(build(settings, lambda _queues: None)) as url:
        yield ledger, url
    ledger.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, {"width": 1280, "height": 900}], ids=["phone", "desk"])
def test_nothing_keeps_anybody_from_reading_it(history, chromium, scheme, size):
    with opened(chromium, history[1], size=size, scheme=scheme) as page:
        assert complaints(page) == []
        assert overflow(page) == 0


def test_what_others_write_is_text(history, chromium):
    with opened(chromium, history[1]) as page:
        assert page.title() == "Fleet · flfleet"
        assert page.get_by_text(f"the aggregator said: {HOSTILE}", exact=True).is_visible()
        assert page.locator("main script, main img").count() == 0
        # Not by the refresh either, which swaps the panel in.
        with page.expect_response("**/panel") as answer:
            pass
        answer.value.finished()
        page.wait_for_timeout(200)
        assert page.title() == "Fleet · flfleet"
        assert page.locator("main script, main img").count() == 0


def test_it_shows_what_runs_waits_failed_and_why(history, chromium):
    with opened(chromium, history[1]) as page:
        text = page.locator("main").inner_text()
    assert "train chest-2, round 1, hospital-1" in text
    assert "epoch 2 of 5, loss 1.25" in text
    assert "backend away" in text
    assert "cuda:0 NVIDIA A100" in text
    assert "The broker does not answer" in text


def test_a_line_for_every_miner_is_drawn_over_the_epochs_of_all_rounds(history, chromium):
    with opened(chromium, history[1]) as page:
        lines = page.locator("svg.plot polyline")
        assert lines.count() == 3
        assert [len(line.get_attribute("points").split()) for line in lines.all()] == [6, 6, 6]
        # Every text of the picture lies inside it, on a phone too.
        page.set_viewport_size(PHONE)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            box = page.locator("svg.plot").first.bounding_box()
            for label in page.locator("svg.plot").first.locator("text").all():
                at = label.bounding_box()
                assert at["x"] >= box["x"] - 0.5
                assert at["x"] + at["width"] <= box["x"] + box["width"] + 0.5


def test_what_changes_shows_without_reloading_and_keeps_the_keyboards_place(history, chromium):
    ledger, url = history
    with opened(chromium, url, size=PHONE) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "pools"
        page.evaluate("document.getElementById('pools').scrollLeft = 120")
        (waiting,) = [run for run in ledger.runs() if run.error == "backend away"]
        ledger.retry(waiting.run_id)
        ledger.fail(ledger.claim(waiting.run_id, "fetch", this_process()), "a disk that is full", 60.0)
        page.get_by_text("a disk that is full").wait_for(timeout=8000)
        assert page.evaluate("document.activeElement.id") == "pools"
        assert page.evaluate("document.getElementById('pools').scrollLeft") == 120


def test_the_keyboard_reaches_everything_that_scrolls_or_leads_somewhere(history, chromium):
    with opened(chromium, history[1], size=PHONE) as page:
        wanted = page.locator("a, summary, [tabindex]").count()
        reached = set()
        for _ in range(wanted):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.id || document.activeElement.getAttribute('href')"))
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none"
        assert len(reached) == wanted


def test_a_service_that_goes_and_comes_back_is_told(history, chromium):
    with opened(chromium, history[1], expecting="503") as page:
        page.route("**/panel", lambda route: route.fulfill(status=503, body="{}"))
        page.locator("#live.lost").get_by_text("not reachable").wait_for(timeout=8000)
        page.unroute("**/panel")
        page.locator("#live:not(.lost)").get_by_text("live").wait_for(timeout=8000)


def test_it_reads_without_scripts(history, chromium):
    with opened(chromium, history[1], java_script_enabled=False) as page:
        assert "hospital-1" in page.locator("main").inner_text()
