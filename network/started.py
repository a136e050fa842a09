"""What uvicorn starts, by `uvicorn --factory network.started:NAME`: a service in a process of its own, which tells of itself."""

from fastapi import FastAPI

from pipeline.settings import current
from tasks.observing import observe


def backend() -> FastAPI:
    """The backend, by this process's settings."""
    from network.backend import create_app  # each process loads its own service alone

    return _observed(create_app())


def publisher() -> FastAPI:
    """The publisher's service, by this process's settings."""
    from network.publisher import create_app

    return _observed(create_app())


def aggregator() -> FastAPI:
    """The aggregator's service and page, by this process's settings."""
    from network.aggregator import create_app

    return _observed(create_app())


def fleet() -> FastAPI:
    """The fleet page, by this process's settings."""
    from network.fleet import create_app

    return _observed(create_app())


def _observed(app: FastAPI) -> FastAPI:
    # Services send no spans: theirs would be requests, and what a trace shows is a run.
    observe(current(), traces=False)
    return app
