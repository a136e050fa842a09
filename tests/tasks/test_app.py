import pytest

from pipeline.errors import Misconfigured
from pipeline.settings import Settings
from pipeline.stages.contract import Stage
from tasks.app import VISIBILITY_SECONDS, app, time_limit


def test_a_stage_has_an_hour_and_a_training_one_more_than_it_may_take(tmp_path):
    settings = Settings(home=tmp_path, max_training_seconds=7200)
    assert time_limit(settings, Stage.FETCH) == 3600
    assert time_limit(settings, Stage.TRAIN) == 3 * 3600


def test_the_operators_limit_wins(tmp_path):
    assert time_limit(Settings(home=tmp_path, stage_seconds={"fetch": 5}), Stage.FETCH) == 5


def test_a_stage_ends_before_its_message_is_delivered_again(tmp_path):
    for stage in Stage:
        assert time_limit(Settings(home=tmp_path, max_training_seconds=10**9), stage) < VISIBILITY_SECONDS


@pytest.mark.parametrize("limits", [{"trian": 5}, {"train": 0}, {"train": 26 * 3600}])
def test_limits_that_make_no_sense_are_named(tmp_path, limits):
    with pytest.raises(Misconfigured, match="stage_seconds"):
        time_limit(Settings(home=tmp_path, stage_seconds=limits), Stage.TRAIN)


def test_the_stages_tasks_carry_their_limits():
    app.loader.import_default_modules()
    assert app.tasks["flfleet.fetch"].time_limit == 3600


def test_workers_send_events_only_when_somebody_asks_for_them():
    assert not app.conf.worker_send_task_events
    assert not app.conf.task_send_sent_event
