import pytest

from tasks.publishing import plan
from tests.browsers import DESK, PHONE, complaints, opened, overflow
from tests.browsers import chromium as chromium
from tests.federation import DIMENSION, initial_model
from tests.network.test_whole_round import finished, send_all, task_of

pytestmark = pytest.mark.browser


def test_the_aggregators_page_reads_on_a_phone_and_at_a_desk_in_light_and_dark(federation, chromium):
    plan(
        federation.settings("publisher"),
        document=federation.document(),
        model=initial_model(),
        ratios=[0.5],
        stop_at_expected=False,
    )
    with federation.serving("backend"), federation.serving("publisher"), federation.serving("aggregator"):
        with federation.working("publisher", "aggregator", "miners"):
            send_all(federation, task_of(federation, 1), DIMENSION)
            finished(federation, 1)
        for size in (PHONE, DESK):
            for scheme in ("light", "dark"):
                url = f"{federation.urls['aggregator']}/aggregator"
                with opened(chromium, url, size=size, scheme=scheme) as page:
                    page.locator("details > summary").first.click()
                    assert complaints(page) == []
                    assert overflow(page) == 0
                    box = page.locator("svg.plot").bounding_box()
                    for label in page.locator("svg.plot text").all():
                        at = label.bounding_box()
                        assert at["x"] >= box["x"] - 0.5
                        assert at["x"] + at["width"] <= box["x"] + box["width"] + 0.5
