"""The proxy's part in one pool, request by request: place, queue, give, answer, fail, try again, time out.

Each pool runs on an agenda of its own: pools share nothing. The loop takes the earliest of three: the next request of
the crowd, the next piece of finished work, the next timer. Requests are plain tuples and numbers on this path; a
request that meets no trouble costs one attempt, one heap entry and one line in the ledger.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from heapq import heappop
from math import inf
from operator import itemgetter
from typing import Final

from levelhead.model import Admin, Failure, Pool, Server
from levelhead.simulate.base import ProxyModel, ServerModel, UserModel
from levelhead.simulate.chance import Dice, stream
from levelhead.simulate.checks import Checks
from levelhead.simulate.ledger import Ledger
from levelhead.simulate.policies import Nobody, Picker, picker
from levelhead.simulate.servers import GIVEN, Agenda, Host, Row, Waiting
from levelhead.simulate.users import Crowd

# What the client gets when the last attempt has failed; an error status of the server itself is passed on.
_GATEWAY_STATUS: Final[dict[Failure, int]] = {"refused": 503, "reset": 502, "hung": 504}
_NO_ROW = -1
_ACCEPT_S = 0.002  # how often those outside are looked after
_BACKLOG = 4096  # so many wait outside; the oldest has given up when more come
_TROUBLE_S = 0.0005  # how long a refusal, a reset or an instant error takes to arrive
_RETRY_PAUSE_S = 1.0  # HAProxy waits so long (or its connect timeout) before it tries the same server again


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a pool is simulated with, apart from its configuration."""

    seed: int
    servers: Mapping[tuple[str, str], ServerModel]
    otherwise: ServerModel
    proxy: ProxyModel
    keep_outcomes: bool


class PoolProxy:
    """One pool at work. `run` moves it on; the counters are those of the present epoch."""

    def __init__(self, pool: Pool, users: UserModel, around: Surroundings, *, start_s: float) -> None:
        self.pool = pool
        self.agenda = Agenda(start_s)
        self.crowd = Crowd(users, around.seed, pool.name)
        self.ledger = Ledger(
            self.crowd.size, pool.slo.latency_ms, stream(around.seed, pool.name, "records"), keep=around.keep_outcomes
        )
        self.rows: list[Row] = []
        self.leaving: list[Row] = []  # removed, with requests that still run
        self.arrived = self.errors_5xx = self.refused = 0  # since the beginning
        self._epoch_began = (0, 0, 0)  # what they were then
        self._tries = 0
        self._around = around
        self._dice = Dice(stream(around.seed, pool.name, "dice"))
        self._checks = Checks(pool, self.agenda, self._dice, self._refit)
        self._picker: Picker = Nobody()
        self._hosts: dict[str, Host] = {}
        self._serials = 0
        self._queue: deque[Waiting] = deque()
        self._queued = 0  # here and in the rows' own queues
        self._queue_watch_s = 0.0  # when a timer looks after whoever waits longest, 0 if none does
        self._most_inside = inf  # requests, as far as its listeners let them in; who is outside waits unseen
        self._outside: deque[tuple[int, int]] = deque()
        self._paused: dict[int, Waiting] = {}  # between two attempts at one server
        self._sticky = False
        self._sticks: dict[int, Row] = {}
        self._last_seen_s: dict[int, float] = {}
        self.crowd.start(start_s)
        self._arm_shift()
        self.apply(pool, starting=True)

    # --- the loop ---

    def run(self, until_s: float) -> None:
        """Let everything happen up to and including this time."""
        agenda = self.agenda
        timers = agenda.timers
        while True:
            agenda.horizon_s = min(until_s, timers[0][0])
            self._serve()
            if timers[0][0] > until_s:
                break
            agenda.now_s, _, action = heappop(timers)
            action()
        agenda.now_s = until_s

    def _serve(self) -> None:
        """Arrivals and finished work, in order of time, up to the horizon, which may come nearer meanwhile."""
        agenda, crowd = self.agenda, self.crowd
        finishes, times, users, keys = agenda.finishes, crowd.times, crowd.users, crowd.keys
        place, finish = self._place if self._most_inside == inf else self._let_in, self._finish
        while True:
            arrival_s, finish_s = times[-1], finishes[0][0]
            if arrival_s < finish_s:
                if arrival_s > agenda.horizon_s:
                    return
                agenda.now_s = times.pop()
                user, key = users.pop(), keys.pop()
                if not times:
                    self._refill(arrival_s)
                self.arrived += 1
                place(arrival_s, user, key, self._tries)
            else:
                if finish_s > agenda.horizon_s:
                    return
                agenda.now_s, ticket, row = heappop(finishes)
                finish(ticket, row)

    def _refill(self, now_s: float) -> None:
        self.crowd.refill(now_s)
        if self.ledger.full:
            self.ledger.flush()

    def _place(self, planned_s: float, user: int, key: int, tries: int) -> None:
        """Find a server for a request that has none."""
        row = (self._stuck(user) if self._sticky else None) or self._picker.pick(key, None)
        if row is None:
            self._hold(self._queue, planned_s, user, key, tries)
        elif len(row.outstanding) >= row.limit:
            self._hold(row.queue, planned_s, user, key, tries)
        else:
            self._give(row, planned_s, user, key, tries)

    def _give(self, row: Row, planned_s: float, user: int, key: int, tries: int) -> None:
        agenda = self.agenda
        ticket = next(agenda.tickets)
        row.requests += 1
        row.outstanding[ticket] = (planned_s, user, key, tries, agenda.now_s)
        if not row.watch_s:
            self._watch(row)
        if self._sticky:
            self._tie(user, row)
        host = row.host
        if host.faulty:
            self._meet_trouble(ticket, row, host)
        else:
            host.receive(ticket, row)

    def _finish(self, ticket: int, row: Row) -> None:
        """A machine has done its work; the proxy may have given up on it meanwhile."""
        host = row.host
        if host.waiting:
            host.release()
        else:
            host.busy -= 1
        attempt = row.outstanding.pop(ticket, None)
        if attempt is None:
            self._checks.answered(ticket)
        elif host.error_ratio and not host.fast_errors and self._dice.roll() < host.error_ratio:
            row.outstanding[ticket] = attempt
            self._fail(ticket, row, "status")
        else:
            row.failures = 0
            self.ledger.lines += (attempt[0], attempt[1], 200, self.agenda.now_s, row.serial)
            if self._queued:
                self._take_next(row)

    # --- what goes wrong ---

    def _meet_trouble(self, ticket: int, row: Row, host: Host) -> None:
        soon_s = self.agenda.now_s + _TROUBLE_S
        if host.refusing:
            self.agenda.at(soon_s, partial(self._fail, ticket, row, "refused"))
        elif host.deaf:
            connect_s = self.agenda.now_s + self.pool.timeouts.connect_s
            self.agenda.at(connect_s, partial(self._fail, ticket, row, "refused"))
        elif host.fast_errors and self._dice.roll() < host.error_ratio:
            self.agenda.at(soon_s, partial(self._fail, ticket, row, "status"))
        elif host.reset_ratio and self._dice.roll() < host.reset_ratio:
            self.agenda.at(soon_s, partial(self._fail, ticket, row, "reset"))
        else:
            host.receive(ticket, row)

    def _fail(self, ticket: int, row: Row, failure: Failure) -> None:
        """This attempt has failed: count it as an engine does, then try again or answer the client."""
        attempt = row.outstanding.pop(ticket, None)
        if attempt is None:
            return
        planned_s, user, key, tries, _ = attempt
        again = tries > 0 and self._may_retry(failure)
        if failure in ("reset", "hung") or (failure == "status" and again):
            row.response_errors += 1  # it brought no answer that the client saw
        if again:
            self._try_again(row, (planned_s, user, key, tries - 1, self.agenda.now_s), failure)
        else:
            if failure == "refused":
                row.connect_errors += 1
            elif failure == "status":
                row.errors_5xx += 1
            self._answer(planned_s, user, _GATEWAY_STATUS.get(failure, row.host.error_status), row.serial)
        self._checks.ejector.blame(row, failure)
        if self._queued:
            self._take_next(row)

    def _may_retry(self, failure: Failure) -> bool:
        return failure == "refused" or (failure in self.pool.retries.after and self.crowd.may_repeat())

    def _try_again(self, row: Row, request: Waiting, failure: Failure) -> None:
        """On another server, at once (`redispatches`), if there is one; on the same after a pause (`retries`).

        Both count on the server that failed.
        """
        planned_s, user, key, tries, _ = request
        other = self._picker.pick(key, row) if self.pool.retries.elsewhere else row
        if other is row:
            row.retries += 1
            ticket = next(self.agenda.tickets)
            self._paused[ticket] = request
            pause_s = min(_RETRY_PAUSE_S, self.pool.timeouts.connect_s) if failure == "refused" else 0.0
            self.agenda.at(self.agenda.now_s + pause_s, partial(self._wake, ticket, row))
            return
        row.redispatches += 1
        if other is None:
            self._hold(self._queue, planned_s, user, key, tries)
        elif len(other.outstanding) >= other.limit:
            self._hold(other.queue, planned_s, user, key, tries)
        else:
            self._give(other, planned_s, user, key, tries)

    def _wake(self, ticket: int, row: Row) -> None:
        request = self._paused.pop(ticket, None)
        if request is None:
            return
        planned_s, user, key, tries, _ = request
        if row.reachable and len(row.outstanding) < row.limit:
            self._give(row, planned_s, user, key, tries)
        else:
            self._place(planned_s, user, key, tries)

    def _answer(self, planned_s: float, user: int, status: int, serial: int) -> None:
        """Give the client an error."""
        self.errors_5xx += status >= 500
        self.ledger.lines += (planned_s, user, status, self.agenda.now_s, serial)

    def _watch(self, row: Row) -> None:
        """Arm the server timeout for the oldest attempt: one timer per row is exact, as all have the same limit."""
        oldest = next(iter(row.outstanding.values()), None)
        row.watch_s = 0.0
        if oldest is not None:
            row.watch_s = oldest[GIVEN] + self.pool.timeouts.server_s
            self.agenda.at(row.watch_s, partial(self._expire, row, row.watch_s))

    def _expire(self, row: Row, watch_s: float) -> None:
        if row.watch_s != watch_s:
            return  # other timeouts have come into force meanwhile
        now_s, server_s = self.agenda.now_s, self.pool.timeouts.server_s
        overdue = []
        for ticket, attempt in row.outstanding.items():
            if attempt[GIVEN] + server_s > now_s:
                break
            overdue.append(ticket)
        for ticket in overdue:
            self._fail(ticket, row, "hung")
        self._watch(row)

    def crash(self, host: Host) -> None:
        """The machine loses all work; the proxy sees its connections reset."""
        host.crash()
        self._checks.lost(host)
        for row in [row for row in (*self.rows, *self.leaving) if row.host is host]:
            for ticket in list(row.outstanding):
                self._fail(ticket, row, "reset")

    # --- waiting for a place ---

    def _hold(self, queue: deque[Waiting], planned_s: float, user: int, key: int, tries: int) -> None:
        """Let it wait in this queue, or refuse it: no server is up, or the pool's queue is full."""
        bound = self.pool.limits.queue
        hopeless = queue is self._queue and isinstance(self._picker, Nobody)
        if hopeless or (bound is not None and self._queued >= bound):
            self._refuse(planned_s, user)
            return
        queue.append((planned_s, user, key, tries, self.agenda.now_s))
        self._queued += 1
        if not self._queue_watch_s:
            self._watch_queue()

    def _refuse(self, planned_s: float, user: int) -> None:
        self.refused += 1
        self._answer(planned_s, user, 503, _NO_ROW)

    def _take_next(self, row: Row, most: float = inf) -> None:
        """Give this row those who wait for it, the longest-waiting first, as long as it has places."""
        own, common = row.queue, self._queue
        limit = min(row.limit, len(row.outstanding) + most)
        while len(row.outstanding) < limit:
            if own and (not common or not row.usable or own[0][GIVEN] <= common[0][GIVEN]):
                planned_s, user, key, tries, _ = own.popleft()
            elif common and row.usable:
                planned_s, user, key, tries, _ = common.popleft()
            else:
                return
            self._queued -= 1
            self._give(row, planned_s, user, key, tries)

    def _queues(self) -> list[deque[Waiting]]:
        return [self._queue, *(row.queue for row in self.rows)]

    def _watch_queue(self) -> None:
        """Arm the queue timeout for whoever waits longest."""
        heads = [queue[0][GIVEN] for queue in self._queues() if queue]
        self._queue_watch_s = 0.0
        if heads:
            self._queue_watch_s = min(heads) + self.pool.timeouts.queue_s
            self.agenda.at(self._queue_watch_s, partial(self._expire_queue, self._queue_watch_s))

    def _expire_queue(self, watch_s: float) -> None:
        if self._queue_watch_s != watch_s:
            return
        queue_s = self.pool.timeouts.queue_s
        for queue in self._queues():
            while queue and queue[0][GIVEN] + queue_s <= self.agenda.now_s:
                planned_s, user, _, _, _ = queue.popleft()
                self._queued -= 1
                self._refuse(planned_s, user)
        self._watch_queue()

    # --- outside ---

    def admit(self, most: float) -> None:
        """No more than so many requests at a time come in; the others wait in the kernel, where no proxy sees them."""
        self._most_inside = most
        self._let_more_in()

    def _let_in(self, planned_s: float, user: int, key: int, tries: int) -> None:
        if not self._outside and self.in_flight + self._queued < self._most_inside:
            self._place(planned_s, user, key, tries)
            return
        self.arrived -= 1  # for the proxy it has not
        self._outside.append((user, key))
        if len(self._outside) == 1:
            self.agenda.at(self.agenda.now_s + _ACCEPT_S, self._let_more_in)
        elif len(self._outside) > _BACKLOG:
            self._outside.popleft()

    def _let_more_in(self) -> None:
        # For the proxy, and in its ledger, a request begins here: how long it was outside nobody tells it.
        room = self._most_inside - self.in_flight - self._queued
        while self._outside and room > 0:
            user, key = self._outside.popleft()
            self.arrived += 1
            self._place(self.agenda.now_s, user, key, self._tries)
            room -= 1
        if self._outside:
            self.agenda.at(self.agenda.now_s + _ACCEPT_S, self._let_more_in)

    def poisoned(self) -> None:
        """A request that kills what it reaches: each server in its turn fails it, as far as retries go."""
        self.arrived += 1
        victims = [row for row in self.rows if row.usable][: self._tries + 1]
        for row in victims:
            row.requests += 1
            row.response_errors += 1
            row.redispatches += row is not victims[-1]
            self._checks.ejector.blame(row, "reset")
        self._answer(self.agenda.now_s, 0, 502 if victims else 503, victims[-1].serial if victims else _NO_ROW)

    # --- affinity ---

    def _tie(self, user: int, row: Row) -> None:
        """This user's next request goes there too, over a connection of its own where users keep theirs."""
        before = self._sticks.get(user)
        if before is row:
            return
        if before is not None:
            before.connections -= 1
        row.connects += 1
        row.connections += 1
        self._sticks[user] = row

    def _stuck(self, user: int) -> Row | None:
        """The server that this user's cookie or connection belongs to, if it still holds."""
        now_s = self.agenda.now_s
        row = self._sticks.get(user)
        idle_s = now_s - self._last_seen_s.get(user, now_s)
        if self.crowd.model.session == "keepalive":
            self._last_seen_s[user] = now_s
        if row is None:
            return None
        closed = idle_s > self.pool.timeouts.keep_alive_s
        if row.reachable and not closed and not self.crowd.session_ends():
            return row
        row.connections -= 1
        del self._sticks[user]
        return None

    # --- change ---

    def apply(self, pool: Pool, *, starting: bool = False) -> None:
        """The desired state, in force at once. New servers come in slow start, except when everything starts."""
        self.ledger.set_slo(pool.slo.latency_ms)
        known = {row.server.name: row for row in self.rows}
        rows, fresh, back = [], [], []
        for server in pool.servers:
            row = known.get(server.name)
            if row is None or row.server.address != server.address:
                row = self._new_row(pool, server)
                fresh.append(row)
            else:
                known.pop(server.name)
                if row.server.admin is Admin.MAINT and server.admin is not Admin.MAINT:
                    back.append(row)
                row.server = server
            limit = server.in_flight_limit if server.in_flight_limit is not None else pool.limits.server_in_flight
            row.limit = inf if limit is None else limit
            rows.append(row)
        timeouts_changed = self.pool.timeouts != pool.timeouts
        self.pool, self.rows = pool, rows
        self._tries = pool.retries.attempts
        session = self.crowd.model.session
        self._sticky = session == "keepalive" or (session == "cookie" and pool.affinity_cookie is not None)
        self.crowd.key_by(pool)
        self._checks.configure(pool, rows)
        for gone in known.values():
            self._retire(gone)
        for i, row in enumerate(fresh):
            # HAProxy spreads the first checks over the interval.
            spread_s = i * pool.check.interval_s / len(rows) if starting and pool.check is not None else 0.0
            self._checks.watch(row, spread_s)
            if not starting:
                self._checks.start_slowly(row)
        for row in back:
            self._checks.put_back(row)
        if timeouts_changed:
            for row in rows:
                self._watch(row)
            self._watch_queue()
        self._refit()

    def restart(self, *, graceful: bool) -> None:
        """A new process: counters and opinions from the start. Cookies survive, connections do not."""
        old, self.rows = self.rows, []
        if not graceful:
            self._abandon(old)
        for row in old:
            self._retire(row)
        self._epoch_began = (self.arrived, self.errors_5xx, self.refused)
        self._picker = Nobody()
        self.apply(self.pool, starting=True)
        renewed = {row.server.name: row for row in self.rows}
        cookies = self.crowd.model.session == "cookie"
        self._sticks = {
            user: renewed[row.server.name]
            for user, row in self._sticks.items()
            if cookies and row.server.name in renewed
        }

    def hosts(self, server: str | None) -> list[Host]:
        """The machine behind this server, or all; empty if there is no such server."""
        found = [row.host for row in self.rows if server is None or row.server.name == server]
        return list(dict.fromkeys(found))

    def counters(self) -> tuple[int, int, int]:
        """Arrived, answered with 5xx, refused, in this epoch."""
        arrived, errors_5xx, refused = self._epoch_began
        return self.arrived - arrived, self.errors_5xx - errors_5xx, self.refused - refused

    @property
    def in_flight(self) -> int:
        """Requests inside the proxy that wait for no place: with a server, or between two attempts."""
        self.leaving = [row for row in self.leaving if row.outstanding]
        return sum(len(row.outstanding) for row in (*self.rows, *self.leaving)) + len(self._paused)

    @property
    def keeps_connections(self) -> bool:
        """Whether each user has a connection of its own; else the proxy shares them out, and nobody counts them."""
        return self.crowd.model.session == "keepalive"

    @property
    def queued(self) -> int:
        return self._queued

    def _new_row(self, pool: Pool, server: Server) -> Row:
        host = self._hosts.get(server.address)
        if host is None:
            around = self._around
            model = around.servers.get((pool.name, server.name), around.otherwise)
            host = Host(model, self.agenda, stream(around.seed, pool.name, "server", server.address))
            self._hosts[server.address] = host
        self._serials += 1
        return Row(server, host, self._serials)

    def _retire(self, row: Row) -> None:
        """Nothing new for this row; what it has may finish."""
        self._checks.forget(row)
        row.up = False
        self._rehome(row)
        self.leaving.append(row)

    def _abandon(self, rows: list[Row]) -> None:
        """The process is killed: clients get no answer; machines go on, not knowing."""
        for row in (*rows, *self.leaving):
            lost = [*row.outstanding.values(), *row.queue]
            row.outstanding.clear()
            row.queue.clear()
            for planned_s, user, _, _, _ in lost:
                self._answer(planned_s, user, -1, row.serial)
        for planned_s, user, _, _, _ in (*self._queue, *self._paused.values()):
            self._answer(planned_s, user, -1, _NO_ROW)
        self._queue.clear()
        self._paused.clear()
        self._queued = 0

    def _refit(self) -> None:
        """Choose among those that are usable now, and let who waits have the places that are free."""
        usable = [row for row in self.rows if row.usable]
        wanted = [row for row in self.rows if row.server.admin is Admin.READY and row.server.weight > 0]
        reserves = self.pool.reserves
        if len(usable) < reserves.panic * len(wanted):
            # Envoy's panic: where too few are well, all get their part, or none does.
            usable = [] if reserves.panic_fails else wanted
        self._picker = picker(self.pool, usable, self._around.proxy, self._dice, self._picker)
        for row in self.rows:
            if row.queue and not row.reachable:
                self._rehome(row)
        waiting = inf
        while 0 < self._queued < waiting:
            # One each in turn: a limit that is lifted is lifted everywhere at once.
            waiting = self._queued
            for row in self.rows:
                self._take_next(row, 1)

    def _rehome(self, row: Row) -> None:
        """Those who wait for this very server may go to any, by how long they have waited."""
        waiting = sorted((*self._queue, *row.queue), key=itemgetter(GIVEN))
        row.queue.clear()
        self._queue.clear()
        self._queue.extend(waiting)

    def _arm_shift(self) -> None:
        when_s = self.crowd.next_shift_s(self.agenda.now_s)
        if when_s < inf:
            self.agenda.at(when_s, self._shift)

    def _shift(self) -> None:
        self.crowd.shift(self.agenda.now_s)
        self._arm_shift()
