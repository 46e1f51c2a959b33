"""Many copies of one pool side by side, request by request, each step done for all copies at once with numpy.

The same model as `World`, for what admits it: open-loop users, first come first served lines before a number of
workers (the Kiefer and Wolfowitz recursion), every policy of HAProxy's but bounded load, cookies, drains with slow
start, and the faults that leave servers answering: slow, errors, stalls, traffic. Whatever needs retries, timeouts,
queues of the proxy or checks that fail is for `World`.

Flows(pool, 1000, users, seed=7), then advance(until_s), sample(), records(), apply(pool), inject(fault).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from levelhead.errors import UsageError
from levelhead.model import Admin, Fleet, Hash, LeastRequest, Pool, RandomPick, RoundRobin
from levelhead.simulate.base import Bursts, Diurnal, Exponential, Fixed, Lognormal, Ramp, ServerModel, Steady, UserModel
from levelhead.simulate.chance import stream, zipf
from levelhead.simulate.faults import Errors, Slow, Stall, Traffic
from levelhead.simulate.policies import RING_POINTS, Ring
from levelhead.simulate.servers import Agenda, Host, Row
from levelhead.telemetry import Flags, Floats, Health, Ints, Layout, PoolCounters, Records, Sample, Standing

FlowFault = Slow | Errors | Stall | Traffic

_STANDING = {Admin.READY: Standing.READY, Admin.DRAIN: Standing.DRAIN, Admin.MAINT: Standing.MAINT}
_PENDING = ("finish_s", "row", "latency_ms", "user", "failed", "sampled")


class Flows:
    """`copies` of the pool, called `name-0`, `name-1`, ..., each with users of its own; rates change at `advance`.

    `servers` says what the machine of a server is like, by name; `otherwise` the others. `phase_s` is how far on each
    copy's day is at the beginning. `record_share` of all requests are handed over by `records`.
    """

    def __init__(
        self, pool: Pool, copies: int, users: UserModel, *, seed: int, servers: Mapping[str, ServerModel] | None = None,
        otherwise: ServerModel | None = None, phase_s: Floats | None = None, record_share: float = 0.1,
    ) -> None:  # fmt: skip
        models = [(servers or {}).get(s.name, otherwise or ServerModel()) for s in pool.servers]
        _require_playable(pool, users, models)
        self.pool, self.users, self.now_s = pool, users, 0.0
        self._copies, self._width, self._service = copies, len(models), models[0].service
        self._rng = stream(seed, pool.name, "flows")
        self._phase_s = np.zeros(copies) if phase_s is None else phase_s
        self._record_share = record_share
        rows = copies * self._width
        self._speed = np.tile([m.speed for m in models], copies)
        self._slow, self._add_s, self._error = np.ones(rows), np.zeros(rows), np.zeros(rows)
        self._erring, sticky = False, pool.affinity_cookie is not None and users.session == "cookie"
        self._by_user = sticky or isinstance(pool.policy, Hash)
        self._traffic = np.ones(copies)
        self._burst, self._turns_s = np.zeros(copies, dtype=bool), self._rng.standard_exponential(copies)
        # When each worker is free, earliest first; those that a server does not have are never.
        workers = np.tile([m.workers for m in models], copies)
        self._free_s = np.where(np.arange(int(workers.max()))[:, None] < workers, 0.0, np.inf)
        self._finish_s = np.full((8, rows), -np.inf)  # the last finishes of each server, to count what is in flight
        self._given = np.zeros(rows, dtype=np.int64)
        self._arrived, self._failed_of = np.zeros(copies), np.zeros(rows)
        self._pending = {name: np.zeros(0) for name in _PENDING}
        self._activity = zipf(users.count, users.exponent)
        self._names: list[str] = []
        self._stuck = np.full((copies, users.count), -1, dtype=np.int64)
        self._rate = self._rate_now()
        self._next_s = self._rng.standard_exponential(copies) / self._rate
        self._turn = np.zeros((copies, self._width))
        self._ramp_since_s = np.full(self._width, -np.inf)
        self._ramp, self._weight = np.ones(self._width), np.full(self._width, np.nan)
        self.apply(pool)

    def apply(self, pool: Pool) -> None:
        """Weights and admin states of all copies from now on; who comes back from maintenance starts slowly."""
        was = {s.name: s.admin for s in self.pool.servers}
        if [s.name for s in pool.servers] != list(was) or pool.policy != self.pool.policy:
            raise UsageError("flows keep their servers and their policy", next_step="play this change in a World")
        for i, server in enumerate(pool.servers):
            if was[server.name] is Admin.MAINT and server.admin is Admin.READY:
                self._ramp_since_s[i] = self.now_s
        self.pool = pool
        copies = tuple(replace(pool, name=f"{pool.name}-{i}") for i in range(self._copies))
        self.fleet = Fleet((), copies)
        self.layout = Layout.of(tuple((p.name, tuple(s.name for s in pool.servers)) for p in copies))
        self._refit()

    def inject(self, fault: FlowFault) -> None:
        """Let this happen now in every copy. UsageError for a server that is not there."""
        if isinstance(fault, Traffic):
            self._traffic[:] = fault.factor
            self._retime()
            return
        at = np.arange(self._copies * self._width).reshape(self._copies, self._width)[:, self._members(fault.server)]
        rows = at.ravel()
        match fault:
            case Slow(add_ms=add_ms, factor=factor):
                self._slow[rows], self._add_s[rows] = factor, add_ms / 1000
            case Errors(ratio=ratio):
                self._error[rows] = ratio
                self._erring = bool(self._error.any())
            case Stall(for_s=for_s):
                self._stall(rows, for_s)

    def advance(self, until_s: float) -> None:
        """Let everything happen up to and including this time."""
        self._refit()
        self._retime()
        news: list[tuple[Floats, ...]] = []
        while len(copies := np.flatnonzero(self._next_s <= until_s)):
            at_s = self._next_s[copies]
            # Who asks matters where users are spread, and else for the requests that are told of.
            user = self._users(len(copies)) if self._by_user else None
            rows = copies * self._width + self._chosen(copies, at_s, user)
            news.append(self._told(rows, at_s, self._served(rows, at_s), user))
            self._arrived[copies] += 1
            self._next_s[copies] = at_s + self._rng.standard_exponential(len(copies)) / self._rate[copies]
        for i, name in enumerate(_PENDING):
            self._pending[name] = np.concatenate([self._pending[name], *(new[i] for new in news)])
        self.now_s = until_s
        done = (self._pending["failed"] > 0) & (self._pending["finish_s"] <= until_s)
        self._failed_of += np.bincount(self._pending["row"][done].astype(np.int64), minlength=len(self._given))
        self._pending["failed"][done] = -1.0  # counted

    def sample(self) -> Sample:
        """One reading of all copies."""
        layout, rows = self.layout, len(self._given)
        none, nothing, unknown = np.zeros(rows), np.zeros(self._copies), np.full(rows, np.nan)
        held = (self._finish_s > self.now_s).sum(axis=0).astype(np.float64)
        servers = self.pool.servers
        checked = Health.UNCHECKED if self.pool.check is None else Health.PASSING
        health = [Health.UNKNOWN if s.admin is Admin.MAINT else checked for s in servers]
        return Sample(
            at_s=self.now_s, epoch=1, layout=layout, requests=self._given.astype(np.float64),
            errors_5xx=self._failed_of.copy(), connect_errors=none, response_errors=none, retries=none,
            redispatches=none, connects=unknown, connections=unknown, in_flight=held, queued=none,
            weight=np.tile([s.weight for s in servers], self._copies),
            ramp=np.tile(self._ramp, self._copies), health=np.tile(np.asarray(health, dtype=np.int8), self._copies),
            standing=np.tile(np.asarray([_STANDING[s.admin] for s in servers], dtype=np.int8), self._copies),
            pool=PoolCounters(
                self._arrived.copy(), layout.per_pool(self._failed_of), nothing, layout.per_pool(held), nothing
            ),
        )  # fmt: skip

    def records(self) -> Records:
        """Single requests answered since this was last asked, a random share of them."""
        finished = self._pending["finish_s"] <= self.now_s
        taken = finished & (self._pending["sampled"] > 0)
        found = {name: column[taken] for name, column in self._pending.items()}
        self._pending = {name: column[~finished] for name, column in self._pending.items()}
        row = found["row"].astype(np.int64)
        who = (row // self._width) * self.users.count + found["user"].astype(np.int64)
        self._names = self._names or [f"user-{i}" for i in range(self._copies * self.users.count)]
        names = self._names
        return Records(
            row=row, status=np.where(found["failed"] != 0, 500, 200).astype(np.int64), latency_ms=found["latency_ms"],
            client=tuple(names[i] for i in who.tolist()), weight=1 / self._record_share,
        )  # fmt: skip

    @property
    def arrived(self) -> float:
        """Requests so far, in all copies."""
        return float(self._arrived.sum())

    # --- one request in each of some copies ---

    def _served(self, rows: Ints, at_s: Floats) -> Floats:
        """Give each of these servers one request, no server twice; when each is answered."""
        took_s = self._times(len(rows)) * self._slow[rows] / self._speed[rows] + self._add_s[rows]
        # Rows are in order and none comes twice: as many as there are is all of them, which need not be picked out.
        everyone = len(rows) == self._free_s.shape[1]
        free = self._free_s if everyone else self._free_s.take(rows, axis=1)
        finish_s: Floats = np.maximum(at_s, free[0]) + took_s
        # The earliest free worker takes it; its new time sinks to its place among the others.
        sinking, spare = finish_s.copy(), np.empty_like(finish_s)
        for i in range(len(free) - 1):
            later = free[i + 1]
            np.minimum(later, sinking, out=free[i])
            np.maximum(later, sinking, out=spare)
            sinking, spare = spare, sinking
        free[-1] = sinking
        if not everyone:
            for mine, its in zip(self._free_s, free, strict=True):
                mine[rows] = its
        width = self._finish_s.shape[1]
        place = self._given[rows] % len(self._finish_s) * width + rows
        if (self._finish_s.ravel()[place] > at_s).any():
            place = self._widened(rows) * width + rows
        self._finish_s.ravel()[place] = finish_s
        self._given[rows] += 1
        return finish_s

    def _told(self, rows: Ints, at_s: Floats, finish_s: Floats, user: Ints | None) -> tuple[Floats, ...]:
        """Of these requests those that fail or will be in the records, as columns of `_PENDING`."""
        sampled = self._rng.random(len(rows)) < self._record_share
        failed = self._rng.random(len(rows)) < self._error[rows] if self._erring else np.zeros(len(rows), dtype=bool)
        kept = np.flatnonzero(sampled | failed)
        who = self._users(len(kept)) if user is None else user[kept]
        return (
            finish_s[kept], rows[kept].astype(np.float64), (finish_s[kept] - at_s[kept]) * 1000,
            who.astype(np.float64), failed[kept].astype(np.float64), sampled[kept].astype(np.float64),
        )  # fmt: skip

    def _widened(self, rows: Ints) -> Ints:
        """Room for more requests in flight: the ring of finishes twice as long, and the places of these rows in it."""
        size = len(self._finish_s)
        order = (np.arange(size)[:, None] + self._given) % size  # oldest first
        oldest_first = np.take_along_axis(self._finish_s, order, axis=0)
        self._finish_s = np.full((2 * size, oldest_first.shape[1]), -np.inf)
        place = (self._given - size + np.arange(size)[:, None]) % (2 * size)
        np.put_along_axis(self._finish_s, place, oldest_first, axis=0)
        slots: Ints = self._given[rows] % (2 * size)
        return slots

    def _chosen(self, copies: Ints, at_s: Floats, user: Ints | None) -> Ints:
        """The server of each request, as its place in the pool."""
        if user is None or isinstance(self.pool.policy, Hash):
            return self._picked(copies, at_s, user)
        stuck: Ints = self._stuck[copies, user]
        lost = (stuck < 0) | ~self._reachable[stuck]
        if lost.any():
            stuck[lost] = self._picked(copies[lost], at_s[lost], None)
            self._stuck[copies, user] = stuck
        return stuck

    def _picked(self, copies: Ints, at_s: Floats, user: Ints | None) -> Ints:
        policy = self.pool.policy
        if self._width == 1:
            return np.zeros(len(copies), dtype=np.int64)
        if isinstance(policy, RoundRobin):
            turn = self._turn[copies] + self._weight
            best: Ints = turn.argmax(axis=1).astype(np.int64)
            turn[np.arange(len(copies)), best] -= self._weight.sum()
            self._turn[copies] = turn
            return best
        if isinstance(policy, LeastRequest):
            held = self._held(copies[:, None] * self._width + np.arange(self._width), at_s[:, None])
            load = np.where(held > 0, (held + 1) / np.maximum(self._weight, 1e-9), 0.0)
            load = np.where(self._weight > 0, load, np.inf)
            tied = load <= load.min(axis=1, keepdims=True)
            idlest: Ints = np.where(tied, self._turn[copies], np.inf).argmin(axis=1).astype(np.int64)
            self._turn[copies, idlest] = at_s
            return idlest
        if isinstance(policy, Hash) and user is not None:
            owner: Ints = self._owner[copies, user]
            return owner
        chosen = self._drawn(len(copies))
        for _ in range(policy.draws - 1 if isinstance(policy, RandomPick) else 0):
            other = self._drawn(len(copies))
            load_here = self._held(copies * self._width + chosen, at_s) * self._weight[other]
            load_there = self._held(copies * self._width + other, at_s) * self._weight[chosen]
            chosen = np.where(load_there <= load_here, other, chosen)
        return chosen

    def _held(self, rows: Ints, at_s: Floats) -> Floats:
        """Requests that these servers hold at these times."""
        held: Floats = (self._finish_s[:, rows] > at_s).sum(axis=0).astype(np.float64)
        return held

    def _drawn(self, size: int) -> Ints:
        return np.searchsorted(self._arcs, self._rng.random(size), side="right").astype(np.int64)

    def _users(self, size: int) -> Ints:
        return np.searchsorted(self._activity, self._rng.random(size), side="right").astype(np.int64)

    def _times(self, size: int) -> Floats:
        service = self._service
        match service:
            case Lognormal():
                times = service.median_ms * np.exp(service.sigma * self._rng.standard_normal(size))
            case Exponential():
                times = service.mean_ms * self._rng.standard_exponential(size)
            case Fixed():
                times = np.full(size, service.mean_ms)
        return times / 1000

    # --- what changes ---

    def _members(self, server: str | None) -> list[int]:
        found = [i for i, s in enumerate(self.pool.servers) if server is None or s.name == server]
        if not found:
            names = ", ".join(s.name for s in self.pool.servers)
            raise UsageError(f"there is no server {server}", next_step=f"name one of: {names}")
        return found

    def _stall(self, rows: Ints, for_s: float) -> None:
        now_s = self.now_s
        self._free_s[:, rows] = np.maximum(self._free_s[:, rows], now_s) + for_s
        running = self._finish_s[:, rows]
        self._finish_s[:, rows] = np.where(running > now_s, running + for_s, running)
        stalled: Flags = np.isin(self._pending["row"], rows) & (self._pending["finish_s"] > now_s)
        self._pending["finish_s"][stalled] += for_s
        self._pending["latency_ms"][stalled] += for_s * 1000

    def _refit(self) -> None:
        """Weights in force: none where people do not want it, and a growing part in slow start, as `Checks` does it."""
        slow_s, elapsed = self.pool.slow_start_s, self.now_s - self._ramp_since_s
        steps = np.floor(RING_POINTS * np.floor(np.minimum(elapsed, 1e9) + 1e-9) / max(slow_s, 1e-9)) + 1
        self._ramp = np.where(elapsed < slow_s, np.minimum(steps / RING_POINTS, 1.0), 1.0)
        servers = self.pool.servers
        ready = np.asarray([s.admin is Admin.READY for s in servers])
        weight = np.where(ready, [s.weight for s in servers], 0.0) * self._ramp
        self._reachable = np.asarray([s.admin is not Admin.MAINT for s in servers])
        if np.array_equal(weight, self._weight):
            return
        self._weight = weight
        if isinstance(self.pool.policy, RandomPick | Hash):
            self._refit_ring()

    def _refit_ring(self) -> None:
        agenda, rng = Agenda(0.0), np.random.default_rng(0)
        chosen = [i for i, w in enumerate(self._weight) if w > 0]
        rows = [Row(self.pool.servers[i], Host(ServerModel(0), agenda, rng), i) for i in chosen]
        for row in rows:
            row.ramp = float(self._ramp[row.serial])
        ring = Ring(rows)
        arcs = np.zeros(self._width)
        arcs[chosen] = ring.arcs()
        self._arcs = np.cumsum(arcs)[:-1]
        if isinstance(self.pool.policy, Hash):
            keys = np.arange(self._copies * self.users.count)  # each copy has people of its own
            owner = [ring.owner(int(key)).serial for key in keys]
            self._owner = np.asarray(owner, dtype=np.int64).reshape(self._copies, self.users.count)

    def _retime(self) -> None:
        """Stretch the times still to come to the rates of now: for a Poisson stream that is exact."""
        rate = self._rate_now()
        self._next_s = self.now_s + (self._next_s - self.now_s) * self._rate / rate
        self._rate = rate

    def _rate_now(self) -> Floats:
        shape, at_s = self.users.shape, self.now_s + self._phase_s
        factor = np.ones(self._copies)
        match shape:
            case Steady():
                pass
            case Ramp():
                factor += (shape.factor - 1) * np.clip((at_s - shape.start_s) / max(shape.over_s, 1e-9), 0, 1)
            case Diurnal():
                factor += shape.swing * np.cos(2 * np.pi * (at_s - shape.peak_s) / shape.period_s)
            case Bursts():
                turned = self._turns_s <= self.now_s
                self._burst ^= turned
                mean_s = np.where(self._burst, shape.on_s, shape.off_s)
                ahead = mean_s * self._rng.standard_exponential(self._copies)
                first = self.now_s == 0.0
                self._turns_s = np.where(turned | first, self.now_s + ahead, self._turns_s)
                factor = np.where(self._burst, shape.factor, 1.0)
        rate: Floats = self.users.rps * self._traffic * factor
        return rate


def _require_playable(pool: Pool, users: UserModel, models: list[ServerModel]) -> None:
    policy = pool.policy
    hashes_users = not isinstance(policy, Hash) or (
        policy.consistent and policy.bounded_load is None and policy.on in ("source", "header", "cookie")
    )
    known = isinstance(policy, RoundRobin | LeastRequest | RandomPick | Hash) and pool.workers == 1
    known &= not (isinstance(policy, LeastRequest) and policy.draws is not None)
    known &= not (isinstance(policy, RandomPick) and not policy.by_weight)
    simple = users.session in ("none", "cookie") and users.session_requests is None and users.rps > 0
    if not (known and hashes_users and simple and all(m.service == models[0].service for m in models)):
        raise UsageError(
            f"flows cannot play {pool.name}: bounded load, hashes of paths, Envoy's draws, workers that share nothing, "
            "sessions that end, and services of different shape need a World", next_step="play it in a World",
        )  # fmt: skip
