"""The crowd of one pool: when requests come, from whom, and with which key, drawn in blocks.

A block is kept backwards, so that the next request is the last entry and taking it is a `pop`.
"""

from __future__ import annotations

from dataclasses import replace
from math import cos, inf, pi
from typing import Literal

import numpy as np

from levelhead.model import Hash, Pool
from levelhead.simulate.base import Bursts, Diurnal, Ramp, Steady, UserModel
from levelhead.simulate.chance import Dice, stream, zipf
from levelhead.telemetry import Floats, Ints

KeyedBy = Literal["header", "cookie", "source", "path"]


class Crowd:
    """Open-loop users: `times`, `users` and `keys` of the requests to come; `times` is never empty."""

    def __init__(self, model: UserModel, seed: int, pool: str) -> None:
        self.model = model
        self.times: list[float] = [inf]
        self.users: list[int] = [0]
        self.keys: list[int] = [0]
        self._when = stream(seed, pool, "when")
        self._who = stream(seed, pool, "who")
        self._habits = Dice(stream(seed, pool, "habits"))
        self._activity = zipf(model.count, model.exponent) if model.exponent else None
        self._popularity = zipf(model.paths, model.path_exponent)
        self._keyed_by: KeyedBy | None = None
        self._hot_share = 0.0
        self._traffic = 1.0
        self._burst = False
        self._rate = 0.0
        self._names: dict[tuple[str, int], str] = {}
        self._units: list[float] = []  # while the rate is 0: exponential time still to pass before each request

    def start(self, now_s: float) -> None:
        """Begin at this time."""
        self._rate = 1.0
        self.refill(now_s)
        self.retime(now_s)

    def key_by(self, pool: Pool) -> None:
        """Give requests the keys that this pool's policy asks for."""
        on = pool.policy.on if isinstance(pool.policy, Hash) else None
        # What else a request may be hashed by differs from user to user, as a header does.
        keyed_by = "header" if on == "query" or on == "other" else on
        if keyed_by != self._keyed_by:
            self._keyed_by = keyed_by
            self._redraw_people()

    def set_traffic(self, factor: float, now_s: float) -> None:
        self._traffic = factor
        self.retime(now_s)

    def set_hot(self, share: float) -> None:
        self._hot_share = share
        self._redraw_people()

    def set_addresses(self, addresses: int) -> None:
        self.model = replace(self.model, addresses=addresses)
        self._names.clear()
        self._redraw_people()

    def next_shift_s(self, now_s: float) -> float:
        """When the rate changes next by itself; infinity if never. Call `shift` then."""
        shape = self.model.shape
        match shape:
            case Steady():
                return inf
            case Ramp():
                if now_s >= shape.start_s + shape.over_s:
                    return inf
                return max(now_s + max(0.05, shape.over_s / 200), shape.start_s)
            case Diurnal():
                return now_s + min(60.0, max(0.05, shape.period_s / 1440))
            case Bursts():
                mean = shape.on_s if self._burst else shape.off_s
                return now_s + mean * float(self._when.standard_exponential())

    def shift(self, now_s: float) -> None:
        """The rate as the shape wants it from now on."""
        if isinstance(self.model.shape, Bursts):
            self._burst = not self._burst
        self.retime(now_s)

    def retime(self, now_s: float) -> None:
        """Stretch the times still to come to the new rate: for a Poisson stream that is exact."""
        rate = self._rate_at(now_s)
        if rate == self._rate:
            return
        units = self._units if self._rate == 0 else [(t - now_s) * self._rate for t in self.times]
        self._rate = rate
        if rate == 0:
            self._units = units
            self.times[:] = [inf]
        else:
            self.times[:] = [now_s + unit / rate for unit in units]

    def refill(self, now_s: float) -> None:
        """Draw the next block; `now_s` is the time of the last request taken."""
        size = min(4096, max(64, int(self._rate)))
        times = now_s + np.cumsum(self._when.standard_exponential(size)) / self._rate
        self.times[:] = times[::-1].tolist()
        self._draw_people(size)

    def may_repeat(self) -> bool:
        """Whether this request is one that a proxy may send twice; drawn when it matters."""
        return self.model.repeatable >= 1 or self._habits.roll() < self.model.repeatable

    def session_ends(self) -> bool:
        """Whether a new session begins with this request."""
        mean = self.model.session_requests
        return mean is not None and self._habits.roll() * mean < 1.0

    def name(self, user: int, told_apart_by: str) -> str:
        """A user as the engine's records name it: a source address (shared behind a NAT), or the value of a header."""
        name = self._names.get((told_apart_by, user))
        if name is None:
            address = user % self.model.addresses if self.model.addresses else user
            by_source = told_apart_by == "source"
            name = f"10.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}" if by_source else f"user-{user}"
            self._names[told_apart_by, user] = name
        return name

    @property
    def size(self) -> int:
        """User ids are below this; the last is the single hot user, who exists only while a key is hot."""
        return self.model.count + 1

    def _rate_at(self, now_s: float) -> float:
        return self.model.rps * self._traffic * self._shape_factor(now_s)

    def _shape_factor(self, now_s: float) -> float:
        shape = self.model.shape
        match shape:
            case Steady():
                return 1.0
            case Ramp():
                done = (now_s - shape.start_s) / shape.over_s if shape.over_s > 0 else float(now_s >= shape.start_s)
                return 1.0 + (shape.factor - 1.0) * min(1.0, max(0.0, done))
            case Diurnal():
                return max(0.0, 1.0 + shape.swing * cos(2 * pi * (now_s - shape.peak_s) / shape.period_s))
            case Bursts():
                return shape.factor if self._burst else 1.0

    def _redraw_people(self) -> None:
        if self._rate or self._units:
            self._draw_people(len(self.times) if self._rate else len(self._units))

    def _draw_people(self, size: int) -> None:
        users = self._draw_users(size)
        if self._keyed_by is None:
            self.users[:] = self.keys[:] = users.tolist()
            return
        hot = self._who.random(size) < self._hot_share if self._hot_share else np.zeros(size, dtype=np.bool_)
        if self._keyed_by != "path":
            users[hot] = self.model.count
        keys = self._draw_keys(self._keyed_by, users)
        if self._keyed_by == "path":
            keys[hot] = 0
        self.users[:] = users.tolist()
        self.keys[:] = keys.tolist()

    def _draw_users(self, size: int) -> Ints:
        if self._activity is None:
            return self._who.integers(0, self.model.count, size)
        return np.searchsorted(self._activity, self._who.random(size), side="right").astype(np.int64)

    def _draw_keys(self, keyed_by: KeyedBy, users: Ints) -> Ints:
        match keyed_by:
            case "path":
                drawn: Floats = self._who.random(len(users))
                return np.searchsorted(self._popularity, drawn, side="right").astype(np.int64)
            case "source":
                return users % self.model.addresses if self.model.addresses else users.copy()
            case "header":
                return users % self.model.tenants if self.model.tenants else users.copy()
            case "cookie":
                return users.copy()
