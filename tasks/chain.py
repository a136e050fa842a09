"""Which stages remain for a run, as one Celery chain: the next stage's message leaves when a stage has committed."""

from celery import chain

from pipeline.stages.contract import Stage
from tasks.app import app
from tasks.names import task_name


def remaining(run_id: str, stage: Stage, token: int, label: str = "") -> chain:
    """The stages from `stage` on, each on its queue by the app's routes. Ids and label are for people: the ledger decides
    who works.

    `label`: what Flower shows as the stage's argument beside the run's id, such as `demo, round 2, hospital-3`.
    """
    stages = list(Stage)
    shown = f"({', '.join(part for part in (label, f'run {run_id}') if part)})"
    return chain(
        app.signature(
            task_name(name),
            args=(run_id,),
            task_id=f"{run_id}.{name}.{token}",
            immutable=True,
            argsrepr=shown,
            kwargsrepr="{}",
        )
        for name in stages[stages.index(stage) :]
    )


def start(run_id: str, stage: Stage, token: int, label: str = "") -> None:
    """Sends a run on its way. Two chains of one run do no harm: claims let one of them through."""
    remaining(run_id, stage, token, label).apply_async()
