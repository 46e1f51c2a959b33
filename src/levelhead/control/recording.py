"""Ticks as lines of text and back: what every tick saw and decided, and whether today's code decides the same.

One JSON line per tick, after a first line that says how the control plane began. What is as in the line before is left
out, so a line is short; unknown numbers are null. Floats are written so that they come back exactly.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Final, Protocol, assert_never

import numpy as np
from pydantic import TypeAdapter, ValidationError

from levelhead import __version__, control
from levelhead.control.base import (
    Acknowledge,
    Alter,
    Approve,
    Effect,
    EngineEvent,
    Keep,
    MarkGood,
    Note,
    Order,
    Outcome,
    Put,
    Remember,
    Reply,
    Report,
    Resolve,
    Revise,
    RollBack,
    Sent,
    Tell,
    View,
)
from levelhead.detect.learned import Learned
from levelhead.errors import ConfigError
from levelhead.incident import Incident
from levelhead.model import Revision
from levelhead.telemetry import COUNTERS, GAUGES, NO_RECORDS, Layout, Missing, PoolCounters, Records, Sample

SCHEMA: Final = "levelhead/ticks/1"
_WISHES: Final = {kind.__name__: kind for kind in (Alter, Revise, RollBack, Acknowledge, Note, Resolve, Approve)}
_CODES: Final = ("health", "standing")
_NEXT: Final = "make one: levelhead run --record FILE, or levelhead drill run NAME --record FILE"
_POOL: Final = tuple(f.name for f in fields(PoolCounters))

Json = dict[str, Any]  # one line, between text and dataclasses; nothing else sees it


@dataclass(frozen=True, slots=True)
class Opening:
    """What a control plane knew when it began."""

    incidents: tuple[Incident, ...] = ()
    good: tuple[int, ...] = ()
    next_incident: int = 1
    learned: Learned | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """One tick of a recording: what it saw, what was said and what was wanted then."""

    number: int
    view: View
    because: str
    effects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Replayed:
    """The same tick by today's code."""

    then: Recorded
    because: str
    effects: tuple[str, ...]

    @property
    def same(self) -> bool:
        return (self.because, self.effects) == (self.then.because, self.then.effects)


class Recorder(Protocol):
    """Who is shown every tick as it was seen and decided."""

    def begin(self, opening: Opening) -> None: ...

    def tick(self, view: View, outcome: Outcome) -> None: ...


class Script:
    """Writes the lines of a recording, one call each, to `say`; it remembers what it said last."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._last: Json = {}
        self._revisions: set[int] = set()

    def begin(self, opening: Opening) -> None:
        head = {"schema": SCHEMA, "version": __version__, **_plain(Opening, opening)}
        self._say(json.dumps(head, separators=(",", ":")))

    def tick(self, view: View, outcome: Outcome) -> None:
        # Each revision once, when it comes: it does not change.
        fresh = [r for r in view.revisions if r.number not in self._revisions]
        self._revisions.update(r.number for r in fresh)
        whole = _view(view) | {f"revision {r.number}": _plain(Revision, r) for r in fresh}
        whole |= {"because": outcome.because, "effects": [told(e) for e in outcome.effects]}
        changed = {key: value for key, value in whole.items() if key not in self._last or self._last[key] != value}
        self._last = whole
        self._say(json.dumps(changed, separators=(",", ":"), allow_nan=False))


def replay(lines: Iterable[str], name: str) -> Iterator[Replayed]:
    """Every recorded tick, by today's code. Raises ConfigError, with the line, where `name` is no recording."""
    opening: Opening | None = None
    for opening, recorded in read(lines, name):
        if recorded is None:
            state = control.begin(opening.incidents, opening.good, opening.next_incident, opening.learned)
            continue
        outcome = control.step(state, recorded.view)
        state = outcome.state
        yield Replayed(recorded, outcome.because, tuple(told(e) for e in outcome.effects))


def read(lines: Iterable[str], name: str) -> Iterator[tuple[Opening, Recorded | None]]:
    """The opening by itself, then every tick with it. A last line that was cut off is left out."""
    opening: Opening | None = None
    whole: Json = {}
    for number, line in enumerate(lines):
        if not line.endswith("\n"):
            return
        try:
            said: Json = json.loads(line)
            if opening is None:
                opening = _opened(said)
                yield opening, None
                continue
            whole |= said
            recorded = Recorded(number, _seen(whole), whole["because"], tuple(whole["effects"]))
        except (ValueError, TypeError, KeyError, AttributeError, ValidationError) as error:
            what = f"this is no recording of ticks ({_short(error)})"
            raise ConfigError(what, file=name, line=number + 1, next_step=_NEXT) from None
        yield opening, recorded


def told(effect: Effect) -> str:
    """An effect as a line that two runs can be compared by."""
    match effect:
        case Put():
            weights = "; ".join(
                f"{p.name}: " + " ".join(f"{s.name}={s.weight:g}/{s.admin.value}" for s in p.servers)
                for p in effect.fleet.pools
            )
            return f"put {effect.ticket} by {effect.author}, {effect.why} ({weights})"
        case Keep(incident):
            return f"keep {incident.id} in phase {incident.phase.value}, {len(incident.entries)} entries"
        case Tell(incident, kind, text):
            return f"tell {incident.id} {kind}: {text}"
        case Reply(order, accepted, text):
            return f"reply to {order}: {'accepted' if accepted else 'refused'}, {text}"
        case MarkGood(revision):
            return f"revision {revision} is good"
        case Remember(learned):
            return f"remember what was learnt of {len(learned.pools)} pools"
        case _:
            assert_never(effect)


# To lines.


def _view(view: View) -> Json:
    said: Json = {
        "at": view.at, "busy": view.busy, "false_alarms_per_month": view.false_alarms_per_month,
        "revisions": [r.number for r in view.revisions],
        "orders": [_order(o) for o in view.orders],
        "reports": [_plain(Report, r) for r in view.reports],
        "events": [_plain(EngineEvent, e) for e in view.events],
        "notices": [_plain(Sent, n) for n in view.notices],
        "records": _records(view.records),
    }  # fmt: skip
    sample = view.sample
    if isinstance(sample, Missing):
        return said | {"missing": {"at_s": sample.at_s, "why": sample.why}}
    said |= {"missing": None, "at_s": sample.at_s, "epoch": sample.epoch}
    said["layout"] = [[pool, list(sample.layout.servers[rows])] for pool, rows in sample.layout.each()]
    said |= {name: _numbers(getattr(sample, name)) for name in (*COUNTERS, *GAUGES)}
    said |= {name: getattr(sample, name).tolist() for name in _CODES}
    return said | {f"pool {name}": _numbers(getattr(sample.pool, name)) for name in _POOL}


def _order(order: Order) -> Json:
    kind = type(order.wish)
    return _plain(Order, order) | {"kind": kind.__name__, "wish": _plain(kind, order.wish)}


def _records(records: Records) -> Json | None:
    if not len(records):
        return None
    return {
        "row": records.row.tolist(), "status": records.status.tolist(), "latency_ms": _numbers(records.latency_ms),
        "client": list(records.client), "weight": records.weight,
    }  # fmt: skip


def _numbers(column: np.ndarray[Any, np.dtype[np.float64]]) -> list[float | int | None]:
    return [None if math.isnan(x) else int(x) if x.is_integer() else x for x in column.tolist()]


# And back.


def _opened(said: Json) -> Opening:
    if said.pop("schema") != SCHEMA:
        raise ValueError(f"its schema is not {SCHEMA}")
    said.pop("version")
    opening: Opening = _whole(Opening, said)
    return opening


def _seen(said: Json) -> View:
    revisions = tuple(_revision(json.dumps(said[f"revision {number}"])) for number in said["revisions"])
    return View(
        at=said["at"], sample=_sample(said), revisions=revisions, records=_recorded(said["records"]),
        orders=tuple(_ordered(o) for o in said["orders"]),
        reports=tuple(_whole(Report, r) for r in said["reports"]),
        events=tuple(_whole(EngineEvent, e) for e in said["events"]),
        notices=tuple(_whole(Sent, n) for n in said["notices"]),
        busy=said["busy"], false_alarms_per_month=said["false_alarms_per_month"],
    )  # fmt: skip


@functools.lru_cache(maxsize=64)
def _revision(text: str) -> Revision:
    revision: Revision = _whole(Revision, json.loads(text))
    return revision


def _sample(said: Json) -> Sample | Missing:
    if said["missing"] is not None:
        return Missing(**said["missing"])
    layout = Layout.of(tuple((pool, tuple(servers)) for pool, servers in said["layout"]))
    columns: dict[str, Any] = {name: _column(said[name]) for name in (*COUNTERS, *GAUGES)}
    codes: dict[str, Any] = {name: np.asarray(said[name], np.int8) for name in _CODES}
    pool = PoolCounters(**{name: _column(said[f"pool {name}"]) for name in _POOL})
    if any(len(column) != len(layout.servers) for column in (*columns.values(), *codes.values())):
        raise ValueError("a column does not have a row for each server")
    return Sample(at_s=said["at_s"], epoch=said["epoch"], layout=layout, pool=pool, **columns, **codes)


def _recorded(said: Json | None) -> Records:
    if said is None:
        return NO_RECORDS
    row, status = np.asarray(said["row"], np.int64), np.asarray(said["status"], np.int64)
    return Records(row, status, _column(said["latency_ms"]), tuple(said["client"]), said["weight"])


def _column(numbers: list[float | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.asarray([math.nan if x is None else x for x in numbers], np.float64)


def _ordered(said: Json) -> Order:
    wish = _whole(_WISHES[said["kind"]], said["wish"])
    return Order(said["id"], said["at"], said["who"], said["why"], wish, said["force"])


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _plain(kind: Any, value: object) -> Json:
    said: Json = _adapter(kind).dump_python(value, mode="json")
    return said


def _whole(kind: Any, said: Json) -> Any:
    return _adapter(kind).validate_python(said)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".split("\n", 1)[0][:120]
