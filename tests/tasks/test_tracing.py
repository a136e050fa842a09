import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from pipeline.errors import Rejected
from pipeline.settings import current
from pipeline.stages.contract import Stage
from tasks import stages as stage_tasks
from tasks import tracing
from tests.signed_tasks import MINERS, make_task
from tests.worker_fleet import broker as broker
from tests.worker_fleet import environment as environment
from tests.worker_fleet import ledger as ledger
from tests.worker_fleet import ledger_url as ledger_url
from tests.worker_fleet import start_worker as start_worker
from tests.worker_fleet import sweep as sweep
from tests.worker_fleet import wait_until


@pytest.fixture
def collector(monkeypatch):
    """An OTLP collector of the test's own: the spans that it was sent."""
    spans = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                raise AssertionError
            request = ExportTraceServiceRequest.FromString(body)
            spans.extend(
                (span, {one.key: one.value.string_value for one in resource.resource.attributes})
                for resource in request.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            )
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("FLFLEET_OTEL_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    current.cache_clear()
    tracing._provider.cache_clear()
    tracing.install()
    yield spans
    tracing.task_prerun.disconnect(tracing._begin)
    tracing.task_postrun.disconnect(tracing._end)
    tracing.worker_process_shutdown.disconnect(tracing._flush)
    tracing._flush()
    tracing._provider.cache_clear()
    server.shutdown()
    server.server_close()


def test_every_stage_of_a_run_is_a_span_of_the_runs_own_trace(fleet, stages, memory_broker, collector):
    run_id = fleet.add_run(make_task(), MINERS[0].address, "ward")
    tracing.run_added(run_id, "task_001, round 1, ward")
    for stage in Stage:
        getattr(stage_tasks, stage.value).apply((run_id,), throw=True)
    tracing.flush()
    spans = {span.name: span for span, _ in collector}
    assert set(spans) == {"run added", *(f"stage {stage}" for stage in Stage)}
    assert {span.trace_id.hex() for span in spans.values()} == {run_id.replace("-", "")}
    first = spans.pop("run added")
    assert {span.parent_span_id for span in spans.values()} == {first.span_id}
    told = {one.key: one.value for one in spans["stage train"].attributes}
    assert told["flfleet.label"].string_value == "task_001, round 1, ward"
    assert told["flfleet.miner"].string_value == MINERS[0].address
    assert told["flfleet.outcome"].string_value == "committed"


def test_a_stage_that_fails_is_an_error_and_no_key_is_in_any_span(fleet, stages, memory_broker, collector):
    run_id = fleet.add_run(make_task(), MINERS[0].address, "ward")

    def refuse(_job):
        raise Rejected("no such model")

    stages[Stage.FETCH] = refuse
    stage_tasks.fetch.apply((run_id,))
    tracing.flush()
    ((span, _),) = collector
    assert span.status.code == span.status.STATUS_CODE_ERROR
    assert MINERS[0].secret.hex() not in str(span)


@pytest.mark.services
def test_forked_workers_send_their_spans_too(collector, ledger, start_worker, sweep):
    start_worker("all", OTEL_ENDPOINT=current().otel_endpoint)
    run_id = ledger.add_run(make_task(), MINERS[0].address, "ward")
    wait_until(lambda: len(collector) == len(Stage), 60, sweep)
    assert {span.trace_id.hex() for span, _ in collector} == {run_id.replace("-", "")}
    assert {resource["service.name"] for _, resource in collector} == {"flfleet-all"}
