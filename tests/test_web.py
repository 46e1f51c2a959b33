"""The API: every answer names its schema, every refusal and fault is an answer too, and the socket is its owner's."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
from dataclasses import replace
from datetime import UTC
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from levelhead.control.base import Acknowledge, Alter, Approve, Note, Resolve, Revise, RollBack
from levelhead.errors import EngineError, RefusedForSafety, UsageError
from levelhead.incident import Clocks, Phase
from levelhead.model import Admin, SetAdmin, SetWeight
from levelhead.postmortem import markdown
from levelhead.web.app import ROUTES, create_app
from levelhead.web.serve import serve
from tests.paper_plane import FLEET, INCIDENT, PaperPlane, served

WHO = {"who": "alice@desk", "why": "a test"}


@cache
def app() -> FastAPI:
    """One application for all tests; each gives it its own plane."""
    return create_app(PaperPlane())


def ask(plane: PaperPlane, method: str, path: str, body: object = None, content: bytes | None = None) -> httpx.Response:
    """One request to the app, without a socket."""
    app().state.plane = plane

    async def one() -> httpx.Response:
        transport = httpx.ASGITransport(app(), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://plane") as client:
            headers = {"Content-Type": "application/json"} if content is not None else {}
            return await client.request(
                method, path, json=body if content is None else None, content=content, headers=headers
            )

    return asyncio.run(one())


@pytest.fixture
def plane() -> PaperPlane:
    return PaperPlane()


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("/healthz", "levelhead/health/1"),
        ("/v1/status", "levelhead/status/1"),
        ("/v1/revisions", "levelhead/revisions/1"),
        ("/v1/revisions/1", "levelhead/revision/1"),
        ("/v1/incidents", "levelhead/incidents/1"),
        ("/v1/incidents/INC-1", "levelhead/incident/1"),
    ],
)
def test_every_answer_names_its_schema_first(plane: PaperPlane, path: str, schema: str) -> None:
    response = ask(plane, "GET", path)
    assert response.status_code == 200
    assert next(iter(response.json().items())) == ("schema", schema)


def test_status_is_the_planes_picture(plane: PaperPlane) -> None:
    told = ask(plane, "GET", "/v1/status").json()
    assert told["because"] == plane.status().because
    assert [pool["name"] for pool in told["pools"]] == ["web", "api"]
    assert told["pools"][0]["servers"][2]["observed"] is None


def test_a_number_that_is_not_one_becomes_null(plane: PaperPlane) -> None:
    plane.records["INC-1"] = replace(INCIDENT, clocks=Clocks(float("nan"), 1.0))
    assert ask(plane, "GET", "/v1/incidents/INC-1").json()["clocks"]["fault"] is None


def test_health_is_503_when_the_proxy_cannot_be_seen(plane: PaperPlane) -> None:
    assert ask(plane, "GET", "/healthz").json()["ok"] is True
    plane.age_s = 30.0
    stale = ask(plane, "GET", "/healthz")
    assert (stale.status_code, stale.json()["text"]) == (503, "the telemetry is 30 s old")
    plane.engine_alive = False
    assert ask(plane, "GET", "/healthz").json()["text"] == "the proxy is not running"


def test_the_postmortem_is_markdown_in_the_time_zone_asked_for(plane: PaperPlane) -> None:
    response = ask(plane, "GET", "/v1/incidents/INC-1/postmortem?zone=UTC")
    assert response.headers["content-type"] == "text/markdown; charset=utf-8"
    slo = FLEET.pools[0].slo
    from_record = markdown(INCIDENT, tz=UTC, slo=slo, at=plane.status().at)
    assert response.text == from_record
    for zone in ("Mars/Olympus", "../../etc/passwd", "/etc/passwd", ""):
        wrong = ask(plane, "GET", f"/v1/incidents/INC-1/postmortem?zone={zone}")
        assert wrong.status_code == 400, zone
        assert "time zone" in wrong.json()["error"]


@pytest.mark.parametrize(
    ("path", "body", "wish"),
    [
        ("/v1/servers", {"pool": "web", "server": "web-1", "do": "drain"},
         Alter((SetAdmin("web", "web-1", Admin.DRAIN),))),
        ("/v1/servers", {"pool": "web", "server": "web-1", "do": "maint"},
         Alter((SetAdmin("web", "web-1", Admin.MAINT),))),
        ("/v1/servers", {"pool": "web", "server": "web-1", "do": "ready"},
         Alter((SetAdmin("web", "web-1", Admin.READY),))),
        ("/v1/servers", {"pool": "web", "server": "web-1", "do": "weight", "weight": 40},
         Alter((SetWeight("web", "web-1", 40.0),))),
        ("/v1/rollback", {"to": 1}, RollBack(1)),
        ("/v1/rollback", {}, RollBack(None)),
        ("/v1/incidents/INC-1/ack", {}, Acknowledge("INC-1")),
        ("/v1/incidents/INC-1/approve", {}, Approve("INC-1")),
        ("/v1/incidents/INC-1/note", {"text": " seen it "}, Note("INC-1", "seen it")),
        ("/v1/incidents/INC-1/resolve", {"text": "it was the disk"}, Resolve("INC-1", "it was the disk")),
    ],
)  # fmt: skip
def test_an_order_becomes_the_wish_of_its_author(
    plane: PaperPlane, path: str, body: dict[str, object], wish: object
) -> None:
    response = ask(plane, "POST", path, WHO | body)
    assert response.status_code == 200, response.text
    assert response.json()["schema"] == "levelhead/answer/1"
    assert response.json()["accepted"] is True
    assert plane.asked == [(wish, "alice@desk", "a test", "")]


def test_a_configuration_is_parsed_and_revised(plane: PaperPlane, tmp_path: Path) -> None:
    source = "listeners: {tls: {address: '127.0.0.1:8443', certificate: tls/site.pem}}\nservers: [127.0.0.1:3001]\n"
    body = {"source": source, "file": "levelhead.yaml", "folder": str(tmp_path)}
    response = ask(plane, "POST", "/v1/config", WHO | body)
    assert response.json()["revision"] == 2, response.text
    wish = plane.asked[0][0]
    assert isinstance(wish, Revise)
    assert wish.source == source
    assert wish.fleet.listeners[0].certificate == str(tmp_path / "tls" / "site.pem")


def test_a_faulty_configuration_is_answered_with_its_place(plane: PaperPlane) -> None:
    body = {"source": "servers: [127.0.0.1:3001]\npolcy: random\n", "file": "fleet.yaml"}
    response = ask(plane, "POST", "/v1/config", WHO | body)
    told = response.json()
    assert response.status_code == 400
    assert (told["schema"], told["file"], told["line"], told["column"]) == ("levelhead/error/1", "fleet.yaml", 2, 1)
    assert "polcy" in told["error"]
    assert plane.asked == []


def test_what_the_guard_refuses_is_409_with_its_objections_and_passes_when_forced(plane: PaperPlane) -> None:
    body = WHO | {"pool": "api", "server": "api-1", "do": "maint"}
    refused = ask(plane, "POST", "/v1/servers", body)
    assert refused.status_code == 409
    assert refused.json()["accepted"] is False
    assert refused.json()["objections"] == ["no server of api would be left to serve"]
    assert ask(plane, "POST", "/v1/servers", body | {"force": "api is retired"}).status_code == 200


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (EngineError("the proxy does not answer"), 503),
        (UsageError("that cannot be"), 400),
        (RuntimeError("a bug"), 500),
    ],
)
def test_what_the_plane_raises_is_an_answer_in_words(plane: PaperPlane, error: Exception, code: int) -> None:
    plane.failing = error
    response = ask(plane, "POST", "/v1/rollback", WHO)
    assert response.status_code == code
    assert response.json()["schema"] == "levelhead/error/1"
    assert str(error) in response.json()["error"]


def test_a_refusal_that_is_raised_is_409_too(plane: PaperPlane) -> None:
    plane.failing = RefusedForSafety("not now", objections=("telemetry is missing",))
    response = ask(plane, "POST", "/v1/rollback", WHO)
    assert (response.status_code, response.json()["objections"]) == (409, ["telemetry is missing"])


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "words"),
    [
        ("GET", "/v1/incidents/INC-9", None, 404, "no incident 'INC-9'"),
        ("POST", "/v1/incidents/INC-9/ack", WHO, 404, "no incident 'INC-9'"),
        ("GET", "/v1/revisions/9", None, 404, "no revision 9"),
        ("GET", "/v1/nothing", None, 404, "Not Found"),
        ("GET", "/v1/rollback", None, 405, "Not Allowed"),
        ("GET", "/v1/incidents?limit=0", None, 422, "limit"),
        ("POST", "/v1/servers", WHO | {"pool": "nope", "server": "web-1", "do": "drain"}, 404, "there is web, api"),
        ("POST", "/v1/servers", WHO | {"pool": "web", "server": "nope", "do": "drain"}, 404, "web-1, web-2, web-3"),
        ("POST", "/v1/servers", WHO | {"pool": "web", "server": "web-1", "do": "weight"}, 422, "weight is given"),
        ("POST", "/v1/servers", WHO | {"pool": "web", "server": "web-1", "do": "drain", "weight": 3}, 422, "weight"),
        ("POST", "/v1/servers", WHO | {"pool": "web", "server": "web-1", "do": "weight", "weight": -1}, 422, "weight"),
        ("POST", "/v1/servers", WHO | {"pool": "web", "server": "web-1", "do": "dance"}, 422, "do"),
        ("POST", "/v1/rollback", WHO | {"too": 1}, 422, "too"),
        ("POST", "/v1/rollback", {"why": "who am I?"}, 422, "who"),
        ("POST", "/v1/rollback", {"who": "levelhead"}, 422, "own name"),
        ("POST", "/v1/rollback", {"who": " "}, 422, "a name in one line"),
        ("POST", "/v1/rollback", {"who": "a\x1b[31m"}, 422, "a name in one line"),
        ("POST", "/v1/rollback", WHO | {"why": "\x1b[2J"}, 422, "control characters"),
        ("POST", "/v1/incidents/INC-1/note", WHO | {"text": "  "}, 422, "not be empty"),
        ("POST", "/v1/rollback", [], 422, "body"),
    ],
)
def test_what_cannot_be_is_said_in_words(
    plane: PaperPlane, method: str, path: str, body: object, code: int, words: str
) -> None:
    response = ask(plane, method, path, body)
    assert (response.status_code, response.json()["schema"]) == (code, "levelhead/error/1"), response.text
    assert words in response.json()["error"]
    assert plane.asked == []


def test_a_closed_incident_takes_no_more_orders(plane: PaperPlane) -> None:
    plane.records["INC-1"] = replace(INCIDENT, phase=Phase.RESOLVED)
    for verb, more in (("ack", {}), ("note", {"text": "late"}), ("resolve", {}), ("approve", {})):
        response = ask(plane, "POST", f"/v1/incidents/INC-1/{verb}", WHO | more)
        assert (response.status_code, response.json()["error"]) == (400, "INC-1 is resolved already")
    assert plane.asked == []


def test_the_description_of_the_api_names_every_route(plane: PaperPlane) -> None:
    told = ask(plane, "GET", "/v1/openapi.json").json()
    assert {(method.upper(), path) for path, methods in told["paths"].items() for method in methods} == {
        (route.method, route.path) for route in ROUTES
    }
    assert "StatusAnswer" in told["components"]["schemas"]


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))
known = st.sampled_from(["web", "api", "web-1", "drain", "ready", "maint", "weight", "servers: [a]", "\ud800", "\0"])
keys = st.sampled_from(
    ["who", "why", "force", "pool", "server", "do", "weight", "to", "text", "source", "file", "folder"]
)
posts = st.sampled_from([route.path.replace("{id}", "INC-1") for route in ROUTES if route.method == "POST"])


@settings(max_examples=150, deadline=None)
@given(posts, st.dictionaries(keys, known | values, max_size=12) | values)
def test_no_body_makes_it_fail(path: str, body: object) -> None:
    response = ask(PaperPlane(), "POST", path, content=json.dumps(body).encode())
    assert response.status_code in (200, 400, 404, 409, 422), response.text
    assert response.json()["schema"] in ("levelhead/answer/1", "levelhead/error/1")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(posts, st.binary(max_size=60))
def test_no_bytes_make_it_fail(path: str, body: bytes) -> None:
    assert ask(PaperPlane(), "POST", path, content=body).status_code in (400, 422)


# The socket.


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "api.sock"


def over(path: Path, target: str) -> Any:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://plane") as client:
        return client.get(target).json()


def test_it_serves_on_a_socket_that_only_its_owner_can_open_and_leaves_nothing(place: Path) -> None:
    with served(PaperPlane(), place):
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        assert over(place, "/v1/status")["revision"] == 1
    assert not place.exists()


def test_a_dead_socket_is_replaced(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place))
    with served(PaperPlane(), place):
        assert over(place, "/healthz")["ok"] is True


def test_a_living_one_is_not(place: Path) -> None:
    async def second() -> None:
        async with serve(create_app(PaperPlane()), place):
            raise AssertionError("it must not serve")

    with served(PaperPlane(), place):
        with pytest.raises(UsageError, match=r"answers on .* already"):
            asyncio.run(second())
        assert over(place, "/healthz")["ok"] is True


def test_what_is_not_a_socket_is_left_alone(place: Path) -> None:
    place.write_text("mine")

    async def over_it() -> None:
        async with serve(create_app(PaperPlane()), place):
            raise AssertionError("it must not serve")

    with pytest.raises(UsageError, match="not a socket"):
        asyncio.run(over_it())
    assert place.read_text() == "mine"


def test_a_path_too_long_for_a_socket_is_said_to_be(tmp_path: Path) -> None:
    async def far() -> None:
        async with serve(create_app(PaperPlane()), tmp_path / ("x" * 108)):
            raise AssertionError("it must not serve")

    with pytest.raises(UsageError, match="too long") as told:
        asyncio.run(far())
    assert "LEVELHEAD_HOME" in told.value.next_step


def test_a_successor_keeps_its_socket_when_the_predecessor_ends(place: Path) -> None:
    async def overtaken() -> None:
        async with serve(create_app(PaperPlane()), place):
            successor()

    def successor() -> None:
        place.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(place))

    asyncio.run(overtaken())
    assert stat.S_ISSOCK(place.stat().st_mode)
