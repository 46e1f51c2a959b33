"""create_app(plane): the routes of the API, each of which asks the plane's face and wraps what it says."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import PurePath
from typing import Annotated, Any, Final, Literal

from fastapi import Depends, FastAPI, HTTPException, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import Discriminator, TypeAdapter
from starlette.exceptions import HTTPException as StarletteHTTPException

import levelhead
from levelhead import postmortem, settings
from levelhead.control.base import Acknowledge, Alter, Approve, Note, Resolve, RollBack, Wish
from levelhead.errors import ConfigError, EngineRefused, LevelheadError, RefusedForSafety, UsageError
from levelhead.incident import Incident
from levelhead.model import Admin, Fleet, SetAdmin, SetWeight
from levelhead.plane import shipping
from levelhead.plane.base import Face
from levelhead.web.answers import (
    ErrorAnswer,
    HealthAnswer,
    IncidentsAnswer,
    Marked,
    OrderAnswer,
    RevisionAnswer,
    RevisionsAnswer,
    StatusAnswer,
)
from levelhead.web.orders import (
    ConfigOrder,
    IncidentOrder,
    NoteOrder,
    Ordered,
    ResolveOrder,
    RollbackOrder,
    ServerOrder,
)
from levelhead.web.records import (
    IncidentAnswer,
    incident_answer,
    incidents_answer,
    revision_answer,
    revisions_answer,
    time_zone,
)

# Telemetry older than this is no view of the proxy.
FRESH_S: Final = 5.0
MOST_LISTED: Final = 1000


def create_app(plane: Face) -> FastAPI:
    """The API of this plane. Every answer is JSON with a `schema` key, but for the postmortem, which is Markdown."""
    app = FastAPI(
        title="Levelhead", version=levelhead.__version__, openapi_url="/v1/openapi.json", docs_url=None, redoc_url=None
    )
    app.state.plane = plane
    for route in ROUTES:
        app.add_api_route(
            route.path,
            route.handler,
            methods=[route.method],
            response_model=route.gives,
            responses=_FAILED | route.also,
            name=route.handler.__name__.strip("_"),
        )
    app.add_exception_handler(LevelheadError, _failed)
    app.add_exception_handler(StarletteHTTPException, _no_such)
    app.add_exception_handler(RequestValidationError, _misunderstood)
    app.add_exception_handler(Exception, _broken)
    return app


def _face(request: Request) -> Face:
    plane: Face = request.app.state.plane
    return plane


Plane = Annotated[Face, Depends(_face)]
Limit = Annotated[int, Query(ge=1, le=MOST_LISTED, description="how many at most, newest first")]
Id = Annotated[str, Path(max_length=64)]


async def _status(plane: Plane) -> Response:
    """The whole picture: pools, servers with their shares, and the sentence that says why."""
    status = plane.status()
    return _reply(StatusAnswer(**{f.name: getattr(status, f.name) for f in fields(status)}))


async def _health(plane: Plane) -> Response:
    """200 while the plane sees a living proxy, else 503."""
    status = plane.status()
    if not status.engine_alive:
        text = "the proxy is not running"
    elif status.age_s is None or status.age_s > FRESH_S:
        text = "no telemetry" if status.age_s is None else f"the telemetry is {status.age_s:.0f} s old"
    else:
        return _reply(HealthAnswer(True, status.because, levelhead.__version__))
    return _reply(HealthAnswer(False, text, levelhead.__version__), 503)


async def _revisions(plane: Plane, limit: Limit = 50) -> Response:
    return _reply(revisions_answer(plane.revisions(limit)))


async def _revision(plane: Plane, number: Annotated[int, Path(ge=1, le=2**53)]) -> Response:
    answer = revision_answer(number, plane.revisions(MOST_LISTED))
    if answer is None:
        raise HTTPException(404, f"there is no revision {number}")
    return _reply(answer)


async def _incidents(plane: Plane, limit: Limit = 50) -> Response:
    return _reply(incidents_answer(plane.incidents(limit)))


async def _incident(plane: Plane, id: Id) -> Response:
    return _reply(incident_answer(_found(plane, id)))


async def _postmortem(plane: Plane, id: Id, zone: Annotated[str, Query(max_length=64)] = "UTC") -> Response:
    """The postmortem in Markdown; `zone` is the time zone of its clock times, such as Europe/Rome."""
    incident = _found(plane, id)
    pool = _fleet(plane).pool(incident.pool)
    slo = pool.slo if pool is not None else None
    page = postmortem.markdown(incident, tz=time_zone(zone), slo=slo, at=plane.status().at)
    return Response(page, media_type="text/markdown; charset=utf-8")


async def _order_server(plane: Plane, order: ServerOrder) -> Response:
    """Drain a server, take it out, put it back, or set its weight; the guard is asked first."""
    pool = _fleet(plane).pool(order.pool)
    if pool is None:
        names = ", ".join(p.name for p in _fleet(plane).pools)
        raise HTTPException(404, f"there is no pool {order.pool!r}; there is {names}")
    if pool.server(order.server) is None:
        names = ", ".join(s.name for s in pool.servers)
        raise HTTPException(404, f"pool {pool.name} has no server {order.server!r}; it has {names}")
    if order.weight is not None:
        return await _submitted(plane, order, Alter((SetWeight(pool.name, order.server, order.weight),)))
    return await _submitted(plane, order, Alter((SetAdmin(pool.name, order.server, Admin(order.do)),)))


async def _order_config(plane: Plane, order: ConfigOrder) -> Response:
    """Ship the text of a levelhead.yaml; a faulty one is answered with 400 and the place of the fault.

    It is reviewed first: findings of severity error are objections.
    """
    parsed = settings.parse(order.source, order.file)
    anchored = replace(parsed, fleet=_anchored(parsed.fleet, order.folder))
    return await _submitted(plane, order, shipping.revise(anchored, order.source), parsed.notify)


async def _order_rollback(plane: Plane, order: RollbackOrder) -> Response:
    """Return to a revision; without `to`, to the last one known to have served well."""
    if order.to is not None and not any(r.number == order.to for r, _ in plane.revisions(MOST_LISTED)):
        raise HTTPException(404, f"there is no revision {order.to}; levelhead revision list")
    return await _submitted(plane, order, RollBack(order.to))


async def _acknowledge(plane: Plane, id: Id, order: IncidentOrder) -> Response:
    return await _submitted(plane, order, Acknowledge(_open(plane, id)))


async def _approve(plane: Plane, id: Id, order: IncidentOrder) -> Response:
    """Let the plan that waits for a person (mode ask) go ahead."""
    return await _submitted(plane, order, Approve(_open(plane, id)))


async def _note(plane: Plane, id: Id, order: NoteOrder) -> Response:
    return await _submitted(plane, order, Note(_open(plane, id), order.text))


async def _resolve(plane: Plane, id: Id, order: ResolveOrder) -> Response:
    return await _submitted(plane, order, Resolve(_open(plane, id), order.text))


@dataclass(frozen=True, slots=True)
class Route:
    """One route: what it answers with when all is well, and with what else."""

    method: Literal["GET", "POST"]
    path: str
    handler: Callable[..., Coroutine[None, None, Response]]
    gives: type[Marked] | None
    also: dict[int | str, dict[str, Any]]


_FAILED: Final[dict[int | str, dict[str, Any]]] = {422: {"model": ErrorAnswer}, "default": {"model": ErrorAnswer}}
_REFUSED: Final[dict[int | str, dict[str, Any]]] = {409: {"model": OrderAnswer, "description": "refused by the guard"}}
_PAGE: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"text/markdown": {}}}}
_SICK: Final[dict[int | str, dict[str, Any]]] = {503: {"model": HealthAnswer}}

ROUTES: Final = (
    Route("GET", "/healthz", _health, HealthAnswer, _SICK),
    Route("GET", "/v1/status", _status, StatusAnswer, {}),
    Route("GET", "/v1/revisions", _revisions, RevisionsAnswer, {}),
    Route("GET", "/v1/revisions/{number}", _revision, RevisionAnswer, {}),
    Route("GET", "/v1/incidents", _incidents, IncidentsAnswer, {}),
    Route("GET", "/v1/incidents/{id}", _incident, IncidentAnswer, {}),
    Route("GET", "/v1/incidents/{id}/postmortem", _postmortem, None, _PAGE),
    Route("POST", "/v1/servers", _order_server, OrderAnswer, _REFUSED),
    Route("POST", "/v1/config", _order_config, OrderAnswer, _REFUSED),
    Route("POST", "/v1/rollback", _order_rollback, OrderAnswer, _REFUSED),
    Route("POST", "/v1/incidents/{id}/ack", _acknowledge, OrderAnswer, _REFUSED),
    Route("POST", "/v1/incidents/{id}/approve", _approve, OrderAnswer, _REFUSED),
    Route("POST", "/v1/incidents/{id}/note", _note, OrderAnswer, _REFUSED),
    Route("POST", "/v1/incidents/{id}/resolve", _resolve, OrderAnswer, _REFUSED),
)


Said = (
    StatusAnswer | HealthAnswer | RevisionsAnswer | RevisionAnswer | IncidentsAnswer | IncidentAnswer | OrderAnswer
    | ErrorAnswer
)  # fmt: skip


@cache
def _said() -> TypeAdapter[Said]:
    return TypeAdapter(Annotated[Said, Discriminator("schema")])


def _reply(answer: Said, status: int = 200) -> Response:
    # Not FastAPI's own way, which fails on NaN; here it becomes null.
    return Response(_said().dump_json(answer), status, media_type="application/json")


async def _submitted(
    plane: Face, order: Ordered, wish: Wish, notify: tuple[settings.Target, ...] | None = None
) -> Response:
    answer = await plane.submit(wish, who=order.who, why=order.why, force=order.force, notify=notify)
    told = OrderAnswer(answer.accepted, answer.text, answer.objections, answer.revision)
    return _reply(told, 200 if answer.accepted else 409)


def _found(plane: Face, id: str) -> Incident:
    try:
        return plane.incident(id)
    except KeyError:
        raise HTTPException(404, f"there is no incident {id!r}") from None


def _open(plane: Face, id: str) -> str:
    if not _found(plane, id).open:
        raise UsageError(f"{id} is resolved already", next_step=f"levelhead incident show {id}")
    return id


def _fleet(plane: Face) -> Fleet:
    newest = plane.revisions(1)
    if not newest:
        raise HTTPException(503, "no configuration is in force yet")
    return newest[0][0].fleet


def _anchored(fleet: Fleet, folder: str) -> Fleet:
    """Paths made independent of where the plane runs."""
    listeners = tuple(
        replace(li, certificate=str(PurePath(folder) / li.certificate)) if folder and li.certificate else li
        for li in fleet.listeners
    )
    return replace(fleet, listeners=listeners)


async def _failed(request: Request, error: Exception) -> Response:
    match error:
        case RefusedForSafety():
            return _reply(OrderAnswer(False, error.what, error.objections), 409)
        case ConfigError():
            return _reply(ErrorAnswer(error.what, error.next_step, error.file, error.line, error.column), 400)
        case UsageError() | EngineRefused():
            return _reply(ErrorAnswer(error.what, error.next_step), 400)
        case LevelheadError():
            return _reply(ErrorAnswer(error.what, error.next_step), 503)
        case _:
            raise error


async def _no_such(request: Request, error: Exception) -> Response:
    if not isinstance(error, StarletteHTTPException):
        raise error
    return _reply(ErrorAnswer(str(error.detail)), error.status_code)


async def _misunderstood(request: Request, error: Exception) -> Response:
    """What is wrong with the request, in a sentence; what was sent is not repeated."""
    if not isinstance(error, RequestValidationError):
        raise error
    told = [f"{_place(e['loc'])}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()[:5]]
    return _reply(ErrorAnswer("; ".join(told), "see /v1/openapi.json for what it takes"), 422)


async def _broken(request: Request, error: Exception) -> Response:
    return _reply(ErrorAnswer(f"this is a bug in Levelhead: {type(error).__name__}: {error}"), 500)


def _place(loc: tuple[int | str, ...]) -> str:
    words = [str(part) for part in loc if part != "body"]
    printable = "".join(c for c in ".".join(words) if c.isprintable())
    return printable[:200] or "the body"
