import logging

import pytest
from celery.app.trace import LOG_RECEIVED, LOG_SUCCESS

from tasks.logs import is_news


def line(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("celery.app.trace", logging.INFO, "", 0, message, arguments, None)


@pytest.mark.parametrize("message", [LOG_RECEIVED, LOG_SUCCESS])
def test_celerys_words_on_a_stage_that_goes_well_are_no_news(message):
    assert not is_news(line(message, {"name": "flfleet.train", "id": "1"}))
    assert is_news(line(message, {"name": "flfleet.poll", "id": "1"}))


def test_a_stage_that_fails_is_news():
    assert is_news(line("Task %(name)s[%(id)s] %(description)s: %(exc)s", {"name": "flfleet.train", "id": "1"}))
    assert is_news(line("without arguments"))
