"""What a process tells of itself beside its work: log lines, error reports, traces. Set up once, where a process begins."""

from pipeline.errors import Misconfigured
from pipeline.settings import Settings
from tasks.logs import configure


def observe(settings: Settings, *, traces: bool) -> None:
    """Sets up the logs, and error reports and traces where a setting asks for them.

    `traces`: this process runs stages, so there are spans to send. Raises Misconfigured where the extra for a setting is missing.
    """
    configure()
    try:
        if traces and settings.otel_endpoint:
            from tasks import tracing

            tracing.install()
        if settings.sentry_dsn:
            from tasks import incidents

            incidents.install(settings.sentry_dsn.get_secret_value())
    except ModuleNotFoundError as error:
        raise Misconfigured(
            f"{error.name} is missing: pip install 'flfleet[otel,sentry]', or unset the setting"
        ) from None
