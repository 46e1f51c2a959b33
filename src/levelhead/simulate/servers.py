"""A server twice: the machine that works (Host) and the proxy's view of it (Row), on the agenda they share.

An attempt is one try of a request at a server. Its ticket is known to the proxy (`Row.outstanding`) until it has an
answer or has given up, and to the machine until it has done the work: a machine does not notice that nobody waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heapify, heappush
from itertools import count
from math import inf
from typing import Literal

import numpy as np

from levelhead.model import Admin, Server
from levelhead.simulate.base import Exponential, Fixed, Lognormal, ServerModel
from levelhead.simulate.chance import BLOCK

# planned_s, user, key, tries left, given_s. A plain tuple: there is one for each attempt.
Attempt = tuple[float, int, int, int, float]
# planned_s, user, key, tries left, waiting since
Waiting = tuple[float, int, int, int, float]

GIVEN = 4  # the place of given_s and of waiting since


class Agenda:
    """What will happen in one pool: finished work and timers, each as a heap by time, with a sentinel at infinity."""

    __slots__ = ("finishes", "horizon_s", "now_s", "tickets", "timers")

    def __init__(self, start_s: float) -> None:
        self.now_s = start_s
        self.horizon_s = start_s  # finishes and arrivals up to here come before any timer
        self.tickets = count(1)
        nobody = Row(Server("", "", 0), Host(ServerModel(workers=0), self, np.random.default_rng(0)), -1)
        self.finishes: list[tuple[float, int, Row]] = [(inf, 0, nobody)]
        self.timers: list[tuple[float, int, Callable[[], None]]] = [(inf, 0, _never)]

    def at(self, when_s: float, action: Callable[[], None]) -> None:
        """Do this then; things of the same time in the order in which they were asked for."""
        when_s = max(when_s, self.now_s)
        heappush(self.timers, (when_s, next(self.tickets), action))
        if when_s < self.horizon_s:
            self.horizon_s = when_s


def _never() -> None:
    raise AssertionError("infinity has come")


class Host:
    """A machine: a line of requests before a number of workers, and what is wrong with it."""

    __slots__ = (
        "_agenda", "_cold", "_draws", "_rng", "_slow",
        "add_s", "busy", "capacity", "check", "check_since_s", "deaf", "error_ratio", "error_status", "factor",
        "fast_errors", "faulty", "frozen", "model", "refusing", "reset_ratio", "stall", "waiting", "workers",
    )  # fmt: skip

    def __init__(self, model: ServerModel, agenda: Agenda, rng: np.random.Generator) -> None:
        self.model = model
        self._agenda = agenda
        self._rng = rng
        self._draws: list[float] = []
        self.busy = 0
        self.waiting: deque[tuple[int, Row]] = deque()
        self.frozen: list[tuple[float, int, Row]] = []  # work that a stall interrupted: time left, ticket, row
        self.stall = 0  # counts stalls, so that the end of one does not end a later one
        self._cold = 1.0
        self.heal()

    def heal(self) -> None:
        """As it was made. The line and the work in hand stay; `resume` frees what a stall holds."""
        self.capacity = self.workers = self.model.workers
        self._slow = 1.0
        self.add_s = 0.0
        self.refusing = self.deaf = False
        self.error_ratio = self.reset_ratio = 0.0
        self.error_status = 500
        self.fast_errors = False
        self.check: Literal["honest", "lies", "fails"] | float = "honest"  # a number is the period of flapping
        self.check_since_s = 0.0
        self.retune()

    def retune(self, *, slow: float | None = None, cold: float | None = None) -> None:
        """Put together what makes it slower, and whether an arriving request needs a closer look."""
        self._slow = self._slow if slow is None else slow
        self._cold = self._cold if cold is None else cold
        self.factor = self._slow * self._cold / self.model.speed
        self.faulty = self.refusing or self.deaf or self.reset_ratio > 0 or (self.fast_errors and self.error_ratio > 0)

    def receive(self, ticket: int, row: Row) -> None:
        """Begin at once if a worker is free, else join the line."""
        if self.busy < self.workers:
            self.busy += 1
            # `_begin` written out: a call less for every request.
            agenda, draws = self._agenda, self._draws or self._refill()
            heappush(agenda.finishes, (agenda.now_s + draws.pop() * self.factor + self.add_s, ticket, row))
        else:
            self.waiting.append((ticket, row))

    def release(self) -> None:
        """A worker has finished; it takes the next in line, unless there are now fewer workers than work in hand."""
        if self.waiting and self.busy <= self.workers:
            self._begin(*self.waiting.popleft())
        else:
            self.busy -= 1

    def set_capacity(self, workers: int) -> None:
        self.capacity = workers
        if not self.frozen_now:
            self.workers = workers
            self._fill()

    @property
    def frozen_now(self) -> bool:
        return self.stall % 2 == 1

    def freeze(self) -> int:
        """Stop all work where it is; the number names this stall."""
        if not self.frozen_now:
            self.stall += 1
            self.workers = 0
            self.frozen = [(due - self._agenda.now_s, ticket, row) for due, ticket, row in self._take_back()]
        return self.stall

    def resume(self) -> None:
        """Go on where the stall stopped it."""
        if not self.frozen_now:
            return
        self.stall += 1
        self.workers = self.capacity
        for left_s, ticket, row in self.frozen:
            heappush(self._agenda.finishes, (self._agenda.now_s + left_s, ticket, row))
        self.frozen = []
        self._fill()

    def crash(self) -> None:
        """All work in hand and in line is lost."""
        if self.frozen_now:
            self.stall += 1
            self.workers = self.capacity
        self._take_back()
        self.frozen = []
        self.waiting.clear()
        self.busy = 0

    def _fill(self) -> None:
        while self.waiting and self.busy < self.workers:
            self.busy += 1
            self._begin(*self.waiting.popleft())

    def _begin(self, ticket: int, row: Row) -> None:
        agenda = self._agenda
        draws = self._draws or self._refill()
        heappush(agenda.finishes, (agenda.now_s + draws.pop() * self.factor + self.add_s, ticket, row))

    def _refill(self) -> list[float]:
        service = self.model.service
        match service:
            case Lognormal():
                times = service.median_ms * np.exp(service.sigma * self._rng.standard_normal(BLOCK))
            case Exponential():
                times = service.mean_ms * self._rng.standard_exponential(BLOCK)
            case Fixed():
                times = np.full(BLOCK, service.mean_ms)
        self._draws = (times / 1000).tolist()
        return self._draws

    def _take_back(self) -> list[tuple[float, int, Row]]:
        finishes = self._agenda.finishes
        taken = [entry for entry in finishes if entry[2].host is self]
        finishes[:] = [entry for entry in finishes if entry[2].host is not self]
        heapify(finishes)
        return taken


class Row:
    """What the proxy knows of a server: settings, health, counters, and the attempts that have no answer yet."""

    __slots__ = (
        "blamed_s", "checked", "connect_errors", "connections", "connects", "ejected", "ejections", "errors_5xx",
        "failures", "health", "host", "limit", "outstanding", "queue",
        "ramp", "ramp_since_s", "redispatches", "requests", "response_errors", "retries", "serial", "server", "turn",
        "up", "watch_s",
    )  # fmt: skip

    def __init__(self, server: Server, host: Host, serial: int) -> None:
        self.server = server
        self.host = host
        self.serial = serial  # never given twice, so that a record knows its server after members came and went
        self.limit: float = inf
        self.outstanding: dict[int, Attempt] = {}  # by ticket, oldest first
        self.queue: deque[Waiting] = deque()
        self.watch_s = 0.0  # when a timer looks after the oldest attempt, 0 if none does
        self.turn = 0
        self.failures = 0  # in a row or within a time, for passive ejection
        self.blamed_s = -inf  # since when they are counted, where it is within a time
        self.ejected = False  # taken out beside its active check
        self.ejections = 0
        self.up = True
        self.checked = False  # whether a check has said so
        self.health = 0  # as HAProxy counts it: 0 to rise + fall - 1, up from `rise` on
        self.ramp = 1.0
        self.ramp_since_s = -inf
        self.requests = self.errors_5xx = self.connect_errors = self.response_errors = 0
        self.retries = self.redispatches = 0
        self.connects = self.connections = 0  # opened, and open: of users who keep theirs

    @property
    def usable(self) -> bool:
        """Whether the policy may choose it for a new user."""
        return self.up and not self.ejected and self.server.admin is Admin.READY and self.server.weight > 0

    @property
    def reachable(self) -> bool:
        """Whether it may serve those who belong to it, as a draining server does."""
        return self.up and not self.ejected and self.server.admin is not Admin.MAINT

    @property
    def weight(self) -> float:
        """In force now, slow start included."""
        return self.server.weight * self.ramp
