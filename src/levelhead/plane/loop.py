"""Plane: owns the one State, runs the tick, carries out effects; decides nothing itself."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from levelhead import control, notify
from levelhead.control.base import (
    Alter,
    Approve,
    Effect,
    EngineEvent,
    Keep,
    MarkGood,
    Order,
    Outcome,
    Put,
    Remember,
    Reply,
    Report,
    Revise,
    RollBack,
    Sent,
    State,
    Tell,
    View,
    Wish,
)
from levelhead.control.recording import Opening, Recorder
from levelhead.detect.learned import Learned
from levelhead.engines.base import Applied, Engine
from levelhead.errors import LevelheadError, StoreError
from levelhead.incident import Incident, written
from levelhead.model import Fleet, Revision
from levelhead.plane import shipping
from levelhead.plane.picture import status as drawn
from levelhead.plane.status import Answer, Status
from levelhead.plane.watch import Edited, Faulty, FileWatch
from levelhead.settings import Settings, Target
from levelhead.store import IncidentSummary, Store
from levelhead.telemetry import Missing, Records, Sample

TICK_S = 0.25
FILE_LOOK_S = 1.0
# What could not be written is tried again so often.
AGAIN_S = 1.0
# Latencies shown are of so many seconds.
SHOWN_S = 5.0
# A proxy that dies again and again is started again at most this often.
MOST_PATIENT_S = 5.0
ANSWER_S = 30.0
HISTORY = 20
LONG_HISTORY = 500


@functools.cache
def _incident_json() -> TypeAdapter[Incident]:
    return TypeAdapter(Incident)


@functools.cache
def _learned_json() -> TypeAdapter[Learned]:
    return TypeAdapter(Learned)


class Plane:
    """One control plane over one engine.

    `source` is the text the settings came from; `spoken` is called with the outcome of every tick, `told` with what
    became of changes: who looks at the terminal wants to know at once.
    """

    def __init__(
        self, *, settings: Settings, source: str, engine: Engine, store: Store, file: Path | None = None,
        author: str = "levelhead", spoken: Callable[[Outcome], None] | None = None,
        told: Callable[[str], None] | None = None, recorder: Recorder | None = None,
    ) -> None:  # fmt: skip
        self._settings, self._source, self._author = settings, source, author
        self._engine, self._store = engine, store
        self._watch = FileWatch(file, source) if file is not None else None
        self._spoken, self._told, self._recorder = spoken, told, recorder
        self._state = State()
        self._because = "starting"
        self._revisions: tuple[Revision, ...] = ()
        self._orders: list[Order] = []
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        self._reports: list[Report] = []
        self._events: list[EngineEvent] = []
        self._sent: list[Sent] = []
        self._records: deque[Records] = deque(maxlen=round(SHOWN_S / TICK_S))
        self._putting = 0
        self._turns: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._offset = time.time() - time.monotonic()
        self._note = ""
        self._dead_since: float | None = None
        self._restart_at = 0.0
        self._patience_s = 0.0
        self._looked_at = 0.0
        self._unwritten: dict[str, Callable[[], None]] = {}
        self._unkept: dict[str, Incident] = {}
        self._unwell = ""
        self._written_at = 0.0
        self._broken: BaseException | None = None

    # What people and pages may ask (plane.base.Face).

    async def submit(
        self, wish: Wish, *, who: str, why: str, force: str = "", notify: tuple[Target, ...] | None = None
    ) -> Answer:
        order = Order(f"order-{time.monotonic_ns()}", self.now(), who, why, wish, force)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[order.id] = future
        self._orders.append(order)
        try:
            answer = await asyncio.wait_for(future, ANSWER_S)
            if answer.accepted and notify is not None:
                self._settings = replace(self._settings, notify=notify)
            return answer
        except TimeoutError:
            text = f"no answer within {ANSWER_S:.0f} s: the change may still come into force"
            return Answer(False, text, (text,))
        finally:
            self._waiting.pop(order.id, None)

    def status(self) -> Status:
        caps = self._engine.capabilities
        return drawn(
            at=self.now(), because=self._because, engine=f"{caps.engine} {caps.version}", alive=self._engine.alive(),
            state=self._state, revision=self._revisions[-1], records=tuple(self._records),
            notes=tuple(note for note in (self._note, self._unwell) if note),
        )  # fmt: skip

    def revisions(self, limit: int) -> tuple[tuple[Revision, bool], ...]:
        good = set(self._state.good)
        return tuple((r, r.number in good) for r in self._store.revisions(limit))

    def incidents(self, limit: int) -> tuple[IncidentSummary, ...]:
        return self._store.incidents(limit)

    def incident(self, incident_id: str) -> Incident:
        for _, pool in self._state.pools:
            if pool.incident is not None and pool.incident.id == incident_id:
                return pool.incident
        return self._kept(incident_id)

    # Life.

    def now(self) -> float:
        """Unix seconds on a clock that never jumps."""
        return self._offset + time.monotonic()

    async def start(self) -> str:
        """Takes over what an earlier plane left, brings the proxy to it, and says how."""
        last = self._store.last_revision()
        revision = self._first_revision(last)
        applied = await self._engine.start(revision.fleet)
        if last is None or revision.number != last.number:
            self._store.add_revision(revision)
        history = [r for r in reversed(self._store.revisions(HISTORY)) if r.number != revision.number]
        self._revisions = (*history, revision)
        good = tuple(n for n in (r.number for r in self._revisions) if self._store.is_good(n))
        opening = Opening(self._left_open(), good, self._store.next_incident_number(), self._learnt())
        self._state = control.begin(opening.incidents, opening.good, opening.next_incident, opening.learned)
        if self._recorder is not None:
            self._recorder.begin(opening)
        return f"{applied.mechanism}: {applied.because}"

    async def run_until(self, stop: asyncio.Event) -> None:
        """Ticks until `stop` is set. A tick that takes long delays the next; none is skipped or doubled."""
        due = time.monotonic()
        while not stop.is_set():
            await self.tick()
            due = max(due + TICK_S, time.monotonic())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), max(due - time.monotonic(), 0.0))

    async def close(self, *, stop_proxy: bool) -> None:
        """Waits for what is on its way, keeps the record, and lets the proxy go on unless told to stop."""
        for future in self._waiting.values():
            if not future.done():
                future.set_result(Answer(False, "the control plane is stopping", ("it is stopping",)))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5.0)
        for task in self._tasks:
            task.cancel()
        self._keep_open_incidents()
        for effect in control.worth_keeping(self._state, self.now()):
            self._carry_out(effect)
        self._write_down()
        await self._engine.close(stop=stop_proxy)

    async def tick(self) -> Outcome:
        """One round: look at file, proxy and orders, let control decide, carry out what it wants."""
        if self._broken is not None:
            raise self._broken
        self._look_at_file()
        if self._unwell and time.monotonic() - self._written_at >= AGAIN_S:
            self._write_down()
        sample = await self._sampled()
        records = self._engine.records()
        self._records.append(records)
        view = View(
            at=self.now(), sample=sample, revisions=self._revisions, records=records, orders=self._orders_due(),
            reports=tuple(self._reports), events=tuple(self._events), notices=tuple(self._sent), busy=self._putting > 0,
            false_alarms_per_month=self._settings.false_alarms_per_month,
        )  # fmt: skip
        self._reports, self._events, self._sent = [], [], []
        outcome = control.step(self._state, view)
        self._state, self._because = outcome.state, outcome.because
        for effect in outcome.effects:
            self._carry_out(effect)
        if self._recorder is not None:
            self._recorder.tick(view, outcome)
        if self._spoken is not None:
            self._spoken(outcome)
        return outcome

    @property
    def fleet(self) -> Fleet:
        """The desired state in force."""
        return self._revisions[-1].fleet

    def _orders_due(self) -> tuple[Order, ...]:
        """The orders for this tick: of those that change the fleet one at a time, and none while one is on its way."""
        due, later, free = list[Order](), list[Order](), self._putting == 0
        for order in self._orders:
            changing = isinstance(order.wish, Alter | Revise | RollBack | Approve)
            if changing and not free:
                later.append(order)
                continue
            due.append(order)
            free = free and not changing
        self._orders = later
        return tuple(due)

    # Looking.

    async def _sampled(self) -> Sample | Missing:
        if not self._engine.alive():
            await self._revive()
        elif self._dead_since is None:
            self._patience_s = 0.0
        sample = await self._engine.sample()
        return replace(sample, at_s=sample.at_s + self._offset)

    async def _revive(self) -> None:
        """Starts a dead proxy again, at once the first time, then less and less often while it keeps dying."""
        now = self.now()
        if self._dead_since is None:
            self._dead_since = now
            self._events.append(EngineEvent(now, f"{self._engine.capabilities.engine} died", harmful=True))
        if now < self._restart_at:
            return
        self._patience_s = min(max(2 * self._patience_s, TICK_S), MOST_PATIENT_S)
        self._restart_at = now + self._patience_s
        try:
            applied = await self._engine.restart()
        except LevelheadError as error:
            self._events.append(EngineEvent(self.now(), f"it could not be started again: {error.what}", harmful=True))
            return
        away = self.now() - self._dead_since
        self._dead_since = None
        text = f"it serves again after {away:.2f} s ({applied.because}); requests meanwhile failed and are in no count"
        self._events.append(EngineEvent(self.now(), text, harmful=False))

    def _look_at_file(self) -> None:
        now = time.monotonic()
        if self._watch is None or now - self._looked_at < FILE_LOOK_S:
            return
        self._looked_at = now
        match self._watch.look():
            case Edited(settings, source, author):
                wish = shipping.revise(settings, source)
                if not wish.against:
                    self._settings, self._note = settings, ""
                number, why = time.monotonic_ns(), "levelhead.yaml was edited"
                self._orders.append(Order(f"file-{number}", self.now(), author, why, wish))
            case Faulty(why):
                self._refused(why)
            case None:
                return

    # Carrying out.

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Put():
                self._putting += 1
                self._spawn(self._put(effect))
            case Keep(incident):
                self._keep(incident)
            case Tell():
                self._spawn(self._tell(effect))
            case Reply(order, accepted, text, objections):
                self._answer(order, Answer(accepted, text, objections))
                if not accepted and order not in self._waiting:
                    self._refused("; ".join(objections) or text)
            case MarkGood(number):
                good_at = self.now()
                self._recorded(f"good {number}", lambda: self._store.mark_good(number, good_at))
            case Remember(learned):
                self._recorded("learned", lambda: self._store.keep_learned(_learned_json().dump_json(learned)))

    async def _put(self, put: Put) -> None:
        """Brings a fleet into force and makes it a revision."""
        try:
            applied = await self._engine.apply(put.fleet)
        except LevelheadError as error:
            self._not_put(put, error)
        else:
            self._now_in_force(put, applied)
        finally:
            self._putting -= 1

    def _not_put(self, put: Put, error: LevelheadError) -> None:
        self._reports.append(Report(put.ticket, None, error.what))
        self._failed(put.order, error)
        if put.order not in self._waiting:
            self._refused(error.what)

    def _now_in_force(self, put: Put, applied: Applied) -> None:
        number = self._revisions[-1].number + 1
        revision = Revision(number, put.fleet, put.author, self.now(), put.why, put.source)
        self._recorded(f"revision {number}", lambda: self._store.add_revision(revision))
        self._revisions = (*self._revisions[-HISTORY + 1 :], revision)
        text = f"revision {number} in force by {applied.mechanism} after {applied.took_s * 1000:.0f} ms"
        if applied.mechanism == "reload":
            text += f" (a reload, because {applied.because})"
        self._note = ""
        if put.restores is not None:
            self._note = f"revision {number} restores {put.restores}; the file on disk may say otherwise"
        self._reports.append(Report(put.ticket, number, text))
        self._answer(put.order, Answer(True, text, (), number))
        self._tell_at_once(f"{text}, by {put.author}: {put.why}")

    def _refused(self, why: str) -> None:
        """A change that nobody waits for an answer about: the status says it until there is a better one."""
        self._note = f"refused, the old configuration stays: {why}"
        self._tell_at_once(self._note)

    def _tell_at_once(self, text: str) -> None:
        if self._told is not None:
            self._told(text)

    def _answer(self, order: str, answer: Answer) -> None:
        future = self._waiting.get(order)
        if future is not None and not future.done():
            future.set_result(answer)

    def _failed(self, order: str, error: LevelheadError) -> None:
        """The engine could not, or would not: that is no refusal by the guard; who ordered it learns the error."""
        future = self._waiting.get(order)
        if future is not None and not future.done():
            future.set_exception(error)

    async def _tell(self, tell: Tell) -> None:
        incident = tell.incident
        notice = notify.Notice(
            incident=incident.id, pool=incident.pool, kind=tell.kind, phase=incident.phase.value, title=incident.title,
            text=tell.text, at=self.now(),
        )  # fmt: skip
        await asyncio.gather(*(self._tell_one(target, notice) for target in self._settings.notify))

    async def _tell_one(self, target: Target, notice: notify.Notice) -> None:
        """Each target hears its notices in their order; a slow one keeps no other waiting."""
        turn = self._turns.setdefault(target.name, asyncio.Lock())
        async with turn:
            (delivery,) = await notify.deliver((target,), notice)
        self._recorded(f"notice {target.name} {delivery.at}", lambda: self._store.keep_notice(notice, delivery))
        outcome = "sent" if delivery.ok else f"not sent ({delivery.error})"
        tries = f" at attempt {delivery.attempts}" if delivery.attempts > 1 else ""
        text = f"notice to {delivery.target} {outcome}{tries}: {notice.kind}: {notice.text}"
        self._note_sent(Sent(notice.incident, delivery.at, text))

    def _note_sent(self, sent: Sent) -> None:
        """Into the timeline: by the next tick while the incident is open, else straight into the stored record."""
        if any(p.incident is not None and p.incident.id == sent.incident for _, p in self._state.pools):
            self._sent.append(sent)
            return
        self._keep(written(self._kept(sent.incident), sent.at, "notice", sent.text))

    def _keep(self, incident: Incident) -> None:
        self._unkept[incident.id] = incident
        self._recorded(f"incident {incident.id}", lambda: self._store_incident(incident.id))

    def _store_incident(self, incident_id: str) -> None:
        incident = self._unkept[incident_id]
        summary = IncidentSummary(
            id=incident.id, pool=incident.pool, opened_at=incident.clocks.detected,
            closed_at=incident.clocks.resolved, phase=incident.phase.value, title=incident.title,
        )  # fmt: skip
        self._store.keep_incident(summary, _incident_json().dump_json(incident))
        del self._unkept[incident_id]

    def _kept(self, incident_id: str) -> Incident:
        """The newest record of an incident that is not open any more; KeyError for one that never was."""
        waiting = self._unkept.get(incident_id)
        return waiting or _incident_json().validate_json(self._store.incident(incident_id))

    def _keep_open_incidents(self) -> None:
        for _, pool in self._state.pools:
            if pool.incident is not None:
                self._keep(pool.incident)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken = error

    def _recorded(self, what: str, write: Callable[[], None]) -> None:
        """Writes to the store. A full disk must not stop the loop: it is said, and tried again until it is written."""
        self._unwritten[what] = write
        if not self._unwell:
            self._write_down()

    def _write_down(self) -> None:
        """What is still to be written, oldest first, up to the first failure; that one goes to the end."""
        self._written_at = time.monotonic()
        while self._unwritten:
            what = next(iter(self._unwritten))
            write = self._unwritten.pop(what)
            try:
                write()
            except StoreError as error:
                self._unwritten[what] = write
                self._unwell = f"the record cannot be written: {error.what}"
                return
        self._unwell = ""

    # Starting.

    def _first_revision(self, last: Revision | None) -> Revision:
        """What to bring into force at the start: the last revision, unless the file says something new."""
        if last is not None and self._unchanged(last):
            return last
        why = "first configuration" if last is None else "the configuration changed while Levelhead was away"
        number = 1 if last is None else last.number + 1
        return Revision(number, self._settings.fleet, self._author, self.now(), why, self._source)

    def _unchanged(self, last: Revision) -> bool:
        """Whether this configuration is the one shipped last, whatever people and Levelhead have changed since."""
        shipped = next((r for r in self._store.revisions(LONG_HISTORY) if r.source), None)
        return shipped is not None and shipped.source == self._source

    def _learnt(self) -> Learned | None:
        """What an earlier plane had learnt; what another version wrote in another form is learnt anew."""
        record = self._store.learned()
        if not record:
            return None
        try:
            return _learned_json().validate_json(record)
        except ValidationError as error:
            self._tell_at_once(f"what was learnt before is in another form ({error.error_count()} errors): learnt anew")
            return None

    def _left_open(self) -> tuple[Incident, ...]:
        open_ones = self._store.incidents(HISTORY, only_open=True)
        return tuple(_incident_json().validate_json(self._store.incident(s.id)) for s in open_ones)
