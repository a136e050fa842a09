"""The stages' tasks by the names that Celery knows them by."""

from collections.abc import Mapping

from pipeline.stages.contract import Stage


def task_name(stage: Stage) -> str:
    """The stage's task, as routes, messages and events name it."""
    return f"flfleet.{stage}"


#: Stages by their task's name.
STAGE_TASKS: Mapping[str, Stage] = {task_name(stage): stage for stage in Stage}
