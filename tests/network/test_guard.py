import base64

import pytest
import requests
from fastapi import FastAPI
from pydantic import SecretStr

from network.guard import Guard
from tests.serving import serving


def app_with(password: str | None) -> FastAPI:
    app = FastAPI()
    app.add_api_route("/", lambda: {"seen": True})
    app.add_api_route("/healthz", lambda: {"status": "ok"})
    app.add_middleware(Guard, password=None if password is None else SecretStr(password))
    return app


@pytest.fixture(scope="module")
def without():
    with serving(app_with(None)) as url:
        yield url


@pytest.fixture(scope="module")
def guarded():
    with serving(app_with("pässword:with:colons")) as url:
        yield url


def test_on_loopback_whoever_is_here_may_look(without, guarded):
    assert requests.get(without, timeout=5).json() == {"seen": True}
    assert requests.get(guarded, timeout=5).status_code == 200


def test_a_name_that_somebody_else_points_here_may_not(without):
    answer = requests.get(without, headers={"Host": "evil.example"}, timeout=5)
    assert answer.status_code == 403
    assert "FLFLEET_PAGE_PASSWORD" in answer.json()["reasons"][0]


def test_with_a_password_any_name_will_do(guarded):
    away = {"Host": "fleet.example"}
    asked = requests.get(guarded, headers=away, timeout=5)
    assert asked.status_code == 401
    assert asked.headers["www-authenticate"].startswith("Basic")
    known = base64.b64encode("flfleet:pässword:with:colons".encode()).decode()
    assert requests.get(guarded, headers={**away, "Authorization": f"Basic {known}"}, timeout=5).status_code == 200


@pytest.mark.parametrize(
    "given",
    ["", "Basic", "Basic !!!", "Bearer x", "Basic " + base64.b64encode(b"flfleet:wrong").decode(), "Basic \u00ff"],
)
def test_another_password_is_none(guarded, given):
    answer = requests.get(guarded, headers={"Host": "a.example", "Authorization": given.encode("latin-1")}, timeout=5)
    assert answer.status_code == 401


def test_that_it_answers_is_no_secret(without):
    assert requests.get(f"{without}/healthz", headers={"Host": "evil.example"}, timeout=5).status_code == 200
