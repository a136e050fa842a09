"""OpenTelemetry by setting: a span for every stage, and one trace for every run.

A run's id is its trace's id, so the spans of seven stages on seven hosts belong together without anything in a message, and a
person who has the one has the other. The first span, `run added`, is the poll's; every stage is a child of it.
"""

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from celery.signals import task_postrun, task_prerun, worker_process_shutdown
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span, Tracer, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, StatusCode, TraceFlags, set_span_in_context

from pipeline.settings import current
from tasks.names import STAGE_TASKS

#: Spans wait so long for others: a process that is killed loses no more than that.
SEND_SECONDS = 2.0
#: The ids of the span that is being started, where they follow from the run.
_planned: ContextVar[tuple[int, int] | None] = ContextVar("planned", default=None)


class _RunIds(RandomIdGenerator):
    """Random ids, but for the first span of a run."""

    def generate_trace_id(self) -> int:
        planned = _planned.get()
        return super().generate_trace_id() if planned is None else planned[0]

    def generate_span_id(self) -> int:
        planned = _planned.get()
        return super().generate_span_id() if planned is None else planned[1]


def install() -> None:
    """Starts and ends spans on Celery's own signals; nothing of it is there without the setting."""
    task_prerun.connect(_begin, weak=False)
    task_postrun.connect(_end, weak=False)
    worker_process_shutdown.connect(_flush, weak=False)


def run_added(run_id: str, label: str) -> None:
    """The first span of a run's trace."""
    trace_id, span_id = ids_of(run_id)
    with _planning(trace_id, span_id):
        span = _tracer(os.getpid()).start_span("run added", attributes={"flfleet.run": run_id, "flfleet.label": label})
    span.end()


def ids_of(run_id: str) -> tuple[int, int]:
    """Trace id (the run's own 128 bits) and the id of its first span."""
    span_id = int.from_bytes(hashlib.sha256(f"run added {run_id}".encode()).digest()[:8], "big")
    return uuid.UUID(run_id).int, span_id


@contextmanager
def _planning(trace_id: int, span_id: int) -> Iterator[None]:
    token = _planned.set((trace_id, span_id))
    try:
        yield
    finally:
        _planned.reset(token)


def _begin(task: Any, args: Any, **_options: Any) -> None:
    stage = STAGE_TASKS.get(task.name)
    if stage is None:
        return
    run_id = str(args[0])
    trace_id, span_id = ids_of(run_id)
    first = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    attributes = {"flfleet.run": run_id, "flfleet.stage": stage.value}
    parent = set_span_in_context(NonRecordingSpan(first))
    task.request.span = _tracer(os.getpid()).start_span(f"stage {stage}", context=parent, attributes=attributes)


def _end(task: Any, state: str | None = None, retval: Any = None, **_options: Any) -> None:
    span: Span | None = getattr(task.request, "span", None)
    if span is None:
        return
    if (claim := getattr(task.request, "claim", None)) is not None:
        span.set_attributes(
            {"flfleet.miner": claim.miner, "flfleet.attempts": claim.attempts, "flfleet.label": claim.label}
        )
    span.set_attribute("flfleet.outcome", str(retval)[:500])
    span.set_status(StatusCode.OK if state == "SUCCESS" else StatusCode.ERROR)
    span.end()


def _flush(**_options: Any) -> None:
    _provider(os.getpid()).shutdown()


def flush() -> None:
    """Sends what waits."""
    _provider(os.getpid()).force_flush()


def _tracer(pid: int) -> Tracer:
    tracer = _provider(pid).get_tracer("flfleet")
    assert isinstance(tracer, Tracer)
    return tracer


@lru_cache(maxsize=1)
def _provider(_pid: int) -> TracerProvider:  # by process: the thread that sends does not survive a fork
    endpoint = current().otel_endpoint
    assert endpoint is not None, "installed by the setting alone"
    pool = os.environ.get("FLFLEET_POOL", "client")
    provider = TracerProvider(resource=Resource.create({"service.name": f"flfleet-{pool}"}), id_generator=_RunIds())
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=int(SEND_SECONDS * 1000)))
    return provider
