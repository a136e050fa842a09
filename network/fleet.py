"""The fleet page: what a fleet does, for an operator and for Prometheus. It reads ledger and broker and changes nothing."""

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from network.answers import service
from network.curves import loss_curves
from network.fleet_view import view
from network.guard import Guard
from network.metrics import FleetCollector
from network.site import Site, static
from network.snapshot import Depths, Observer
from pipeline.settings import Settings, current
from tasks.queues import queue_depths


class FleetPage:
    """The page, its refreshed part, the same as JSON, and metrics."""

    def __init__(self, observer: Observer) -> None:
        self._observer, self._site = observer, Site()
        self._registry = CollectorRegistry()
        self._registry.register(FleetCollector(observer))

    def whole(self) -> Response:
        """The page."""
        return self._render("fleet.html")

    def panel(self) -> Response:
        """The part that changes."""
        return self._render("fleet_panel.html")

    def state(self) -> Response:
        """What the page shows, for scripts."""
        return JSONResponse(view(self._observer.look()), headers={"Cache-Control": "no-store"})

    def metrics(self) -> Response:
        """For Prometheus. While the ledger is away there is one value, that it is."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    def _render(self, template: str) -> Response:
        shown = view(self._observer.look())
        pictures = {curve["taskID"]: loss_curves(curve["losses"]) for curve in shown["curves"]}
        return self._site.render(template, fleet=shown, pictures=pictures)


def build(settings: Settings, depths: Depths = queue_depths) -> FastAPI:
    """The service over one home's ledger and broker."""
    page, app = FleetPage(Observer(settings, depths)), service("flfleet fleet")
    app.add_api_route("/", page.whole, methods=["GET"])
    app.add_api_route("/panel", page.panel, methods=["GET"])
    app.add_api_route("/state", page.state, methods=["GET"])
    app.add_api_route("/metrics", page.metrics, methods=["GET"])
    app.add_api_route("/static/{name}", static, methods=["GET"])
    app.add_middleware(Guard, password=settings.page_password)
    return app


def create_app() -> FastAPI:
    """The service, by this process's settings."""
    return build(current())
