"""The Celery app: queues, routing, delivery settings, each with its reason.

Redis holds hints only. The ledger is the truth, so a message may be lost (the sweep makes it again) or come twice (the claim
refuses the second). A message is a run's id, never a tensor and never a key.
"""

import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging
from kombu import Queue

import beat_schedule
from pipeline.broker import tls_options
from pipeline.errors import Misconfigured
from pipeline.settings import Settings, current
from pipeline.stages.contract import Stage
from tasks.devices import pool_settings
from tasks.heartbeat import Heartbeat
from tasks.keeper import LeaseKeeper
from tasks.names import task_name

#: Queues besides the seven stages': control carries polls and sweeps, verify long audits that must not hold them up;
#: aggregate and publish are the other parties' work.
CONTROL, VERIFY, AGGREGATE, PUBLISH = "control", "verify", "aggregate", "publish"
#: Local trainings, beside the stage's own queue in every train worker.
RETRAIN = "retrain"
QUEUES = (*(stage.value for stage in Stage), RETRAIN, CONTROL, VERIFY, AGGREGATE, PUBLISH)
#: kombu's Redis transport empties the lists of the first step of all of a worker's queues before it looks at the next step's. Messages
#: without a priority are of step 0: whatever has a deadline goes first.
PRIORITY_STEPS = (0, 9)
RETRAIN_PRIORITY = 9
#: Task names to queues; everything else is control's.
ROUTES = {
    **{task_name(stage): {"queue": stage.value} for stage in Stage},
    "flfleet.retrain": {"queue": RETRAIN},
    "flfleet.verify": {"queue": VERIFY},
    "flfleet.aggregate.*": {"queue": AGGREGATE},
    "flfleet.publish.*": {"queue": PUBLISH},
}
#: A broker-level redelivery is the last resort (the sweep comes first), so it waits longer than the longest stage.
VISIBILITY_SECONDS = 26 * 3600
HOUR_SECONDS = 3600


def time_limit(settings: Settings, stage: Stage) -> float:
    """Seconds after which a stage hangs for good: its process is killed, and the sweep counts the attempt.

    The broker delivers a message again after VISIBILITY_SECONDS; every stage ends before. Raises Misconfigured.
    """
    unknown = sorted(set(settings.stage_seconds) - set(Stage))
    if unknown:
        raise Misconfigured(f"stage_seconds names {', '.join(unknown)}; there are: {', '.join(Stage)}")
    longest = settings.max_training_seconds + HOUR_SECONDS if stage is Stage.TRAIN else HOUR_SECONDS
    seconds = settings.stage_seconds.get(stage, min(longest, VISIBILITY_SECONDS - HOUR_SECONDS))
    if not 0 < seconds <= VISIBILITY_SECONDS - HOUR_SECONDS:
        raise Misconfigured(
            f"stage_seconds of {stage} is {seconds:g}; it must be above 0 and at most {VISIBILITY_SECONDS - HOUR_SECONDS}"
        )
    return seconds


def configuration(settings: Settings, pool: str) -> dict[str, Any]:
    """Celery's settings for one pool's worker (or beat, or a client, with any name)."""
    return {
        "broker_url": settings.broker,
        "broker_use_ssl": tls_options(settings) or None,
        "task_queues": [Queue(name) for name in QUEUES],
        "task_default_queue": CONTROL,
        "task_routes": ROUTES,
        "task_create_missing_queues": False,
        # Only JSON: a pickle in a queue is code that anyone with the broker's password can run.
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        # Results live in the ledger.
        "task_ignore_result": True,
        # A message is gone when its work is done, not when it is begun; the ledger caps the attempts of a task that kills.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # A message that waits in a busy worker's memory is one that an idle worker does not do.
        "worker_prefetch_multiplier": 1,
        # The next stage's message is published from inside a task: a broker that restarts must not end the chain (0.6 s by
        # default). The sweep would mend it, later.
        "task_publish_retry": True,
        "task_publish_retry_policy": {
            "max_retries": 600,
            "interval_start": 0.1,
            "interval_step": 0.2,
            "interval_max": 2,
        },
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            # The shortest visibility timeout in a Redis database wins for every pool, unless each has its own index.
            "unacked_key": f"unacked.{pool}",
            "unacked_index_key": f"unacked_index.{pool}",
            "unacked_mutex_key": f"unacked_mutex.{pool}",
            "unacked_mutex_expire": 30,
            "priority_steps": list(PRIORITY_STEPS),
            "visibility_timeout": VISIBILITY_SECONDS,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "socket_timeout": 30,
        },
        # Only while somebody looks: Flower asks the workers for them every five seconds. They cost a worker's main process as
        # much as all else that it does. Never the one when a message is sent: the ledger knows what is queued.
        "worker_send_task_events": False,
        "task_send_sent_event": False,
        # A deploy's TERM (remapped to QUIT) gives a stage a moment to end, then requeues it.
        "worker_soft_shutdown_timeout": 3.0,
        "worker_hijack_root_logger": False,
        "task_annotations": {
            **{task_name(stage): {"time_limit": time_limit(settings, stage)} for stage in Stage},
            "flfleet.retrain": {"time_limit": time_limit(settings, Stage.TRAIN)},
        },
        # Its ticks are the heartbeat that a liveness probe looks at.
        "beat_scheduler": "tasks.heartbeat:BeatingScheduler",
        "beat_schedule": beat_schedule.timetable(settings),
        "beat_schedule_filename": str(settings.path(f"beat-{'-'.join(settings.roles)}.db")),
        # No beat entry may pile up behind a stopped worker: each carries its own expiry (see the timetable).
        "timezone": "UTC",
        **pool_settings(pool),
    }


app = Celery(
    "flfleet",
    include=[
        "tasks.stages",
        "tasks.polling",
        "tasks.sweeping",
        "tasks.retraining",
        "tasks.verification",
        "tasks.aggregation",
        "tasks.publishing",
        "tasks.retention",
    ],
    amqp="tasks.connections:EagerAMQP",
)
app.steps["worker"].add(LeaseKeeper)
app.steps["consumer"].add(Heartbeat)
app.config_from_object(configuration(current(), pool=os.environ.get("FLFLEET_POOL", "client")))


@setup_logging.connect
def _observe(**_options: Any) -> None:
    from tasks.observing import observe  # set up in workers and beat, not in every client

    observe(current(), traces=True)
