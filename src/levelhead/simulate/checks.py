"""The proxy's opinion of its servers: active checks, and slow start on return, as HAProxy does them.

`Row.health` counts from 0 to rise + fall - 1 and the server is up from `rise` on. A server begins at `rise`: up, but
the first failed check takes it down.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import floor, inf

from levelhead.model import Admin, Pool
from levelhead.simulate.chance import Dice
from levelhead.simulate.ejection import Ejector
from levelhead.simulate.policies import RING_POINTS
from levelhead.simulate.servers import Agenda, Host, Row


class Checks:
    """Watches the rows of one pool; calls `changed` whenever a server comes, goes, or bears a new weight."""

    def __init__(self, pool: Pool, agenda: Agenda, dice: Dice, changed: Callable[[], None]) -> None:
        self.pool = pool
        self._agenda = agenda
        self._dice = dice
        self._changed = changed
        self._rounds: dict[int, int] = {}  # by serial, the number of the round of checks that counts
        self._probes: dict[int, tuple[Row, int]] = {}  # deep checks that wait in a server's line, by ticket
        self.ejector = Ejector(pool, agenda, fell=self._fell, failed=self._failed, hurry=self._hurry, changed=changed)

    def watch(self, row: Row, delay_s: float) -> None:
        """Check it from `delay_s` on, in place of any checks of it so far."""
        self._rounds[row.serial] = next(self._agenda.tickets)
        row.checked = False
        check = self.pool.check
        if check is not None:
            row.health = check.rise
            self._agenda.at(self._agenda.now_s + delay_s, partial(self._probe, row, self._rounds[row.serial]))

    def forget(self, row: Row) -> None:
        self._rounds.pop(row.serial, None)
        row.ramp_since_s = -inf

    def configure(self, pool: Pool, rows: list[Row]) -> None:
        """A new configuration of the pool; rows already watched go on, in the new rhythm."""
        had = self.pool.check
        self.pool = pool
        self.ejector.configure(pool, rows)
        for row in rows:
            if row.serial not in self._rounds:
                continue
            if had is None and pool.check is not None:
                self.watch(row, 0.0)
            elif pool.check is None and not row.up:
                row.up = True

    def put_back(self, row: Row) -> None:
        """From maintenance to ready: up at once, in slow start, checked at once, down at the first failed check."""
        row.failures = 0
        row.up = True
        self.watch(row, 0.0)
        self.start_slowly(row)

    def start_slowly(self, row: Row) -> None:
        """Grant a part of its weight that grows, in steps of a sixteenth of the weight and at least a second."""
        row.ramp_since_s = self._agenda.now_s
        row.ramp = 1.0
        if self.pool.slow_start_s > 0:
            self._ramp(row, self._agenda.now_s)
        else:
            self._changed()

    def answered(self, ticket: int) -> None:
        """A machine has finished something that nobody waits for: a deep check perhaps."""
        probe = self._probes.pop(ticket, None)
        if probe is not None:
            row, number = probe
            ratio = row.host.error_ratio
            self._conclude(row, number, not (ratio and self._dice.roll() < ratio))

    def lost(self, host: Host) -> None:
        """The machine crashed, and deep checks in its line with it."""
        for ticket in [t for t, (row, _) in self._probes.items() if row.host is host]:
            row, number = self._probes.pop(ticket)
            self._conclude(row, number, False)

    def _probe(self, row: Row, number: int) -> None:
        check = self.pool.check
        if check is None or self._rounds.get(row.serial) != number:
            return
        if row.server.admin is Admin.MAINT:
            return  # `put_back` begins a new round
        host, now_s = row.host, self._agenda.now_s
        verdict = self._foregone(host)
        if verdict is not None:
            self._conclude(row, number, verdict)
        elif host.deaf or (host.frozen_now and not host.model.deep_check):
            self._agenda.at(now_s + check.timeout_s, partial(self._time_out, row, number, host.stall))
        elif host.model.deep_check:
            ticket = next(self._agenda.tickets)
            self._probes[ticket] = row, number
            self._agenda.at(now_s + check.timeout_s, partial(self._give_up, ticket))
            host.receive(ticket, row)
        else:
            self._conclude(row, number, True)

    def _foregone(self, host: Host) -> bool | None:
        """What the check says at once whatever the machine does, or None if that depends on the machine."""
        if host.check == "lies":
            return True
        if not self._found(host):
            return False
        if host.check == "fails" or (isinstance(host.check, float) and self._flapping(host, host.check)):
            return False
        return False if host.refusing else None

    def _found(self, host: Host) -> bool:
        """Whether the server has anything at the path that its check asks for."""
        path, known = self.pool.check.path if self.pool.check is not None else None, host.model.health_paths
        return path is None or not known or path.startswith(known)

    def _flapping(self, host: Host, period_s: float) -> bool:
        return int((self._agenda.now_s - host.check_since_s) / period_s) % 2 == 0

    def _time_out(self, row: Row, number: int, stall: int) -> None:
        """The answer would have come as soon as the machine went on: it is in time if that has happened."""
        host = row.host
        self._conclude(row, number, not (host.deaf or (host.frozen_now and host.stall == stall)))

    def _give_up(self, ticket: int) -> None:
        probe = self._probes.pop(ticket, None)
        if probe is not None:
            self._conclude(*probe, False)

    def _conclude(self, row: Row, number: int, passed: bool) -> None:
        """Count the result; the next check begins one interval after the end of this one, as HAProxy's does."""
        check = self.pool.check
        if check is None or self._rounds.get(row.serial) != number or row.server.admin is Admin.MAINT:
            return
        self._agenda.at(self._agenda.now_s + check.interval_s, partial(self._probe, row, number))
        row.checked = True
        if not passed:
            self._failed(row)
            return
        self.ejector.readmitted(row)
        row.health = min(row.health + 1, check.rise + check.fall - 1)
        if row.health >= check.rise:
            row.health = check.rise + check.fall - 1
            self._take_up(row)

    def _failed(self, row: Row) -> None:
        """One failed check more."""
        rise = self.pool.check.rise if self.pool.check is not None else 1
        if row.health > rise:
            row.health -= 1
        else:
            self._fell(row)

    def _fell(self, row: Row) -> None:
        row.health = 0
        self._take_down(row)

    def _hurry(self, row: Row) -> None:
        """Check it in the fast rhythm from now on until its next result."""
        check = self.pool.check
        if check is not None:
            soon_s = check.interval_s if check.fast_interval_s is None else check.fast_interval_s
            self._rounds[row.serial] = next(self._agenda.tickets)
            self._agenda.at(self._agenda.now_s + soon_s, partial(self._probe, row, self._rounds[row.serial]))

    def _take_up(self, row: Row) -> None:
        if not row.up:
            row.up = True
            row.failures = 0
            self.start_slowly(row)

    def _take_down(self, row: Row) -> None:
        if row.up:
            row.up = False
            row.ramp = 1.0
            self._changed()

    def _ramp(self, row: Row, since_s: float) -> None:
        if row.ramp_since_s != since_s or not row.up:
            return
        slow_start_s = self.pool.slow_start_s
        elapsed_s = self._agenda.now_s - since_s
        ramp = 1.0
        if elapsed_s < slow_start_s:
            ramp = (floor(RING_POINTS * floor(elapsed_s + 1e-9) / slow_start_s) + 1) / RING_POINTS
            step_s = max(1.0, slow_start_s / 20)
            self._agenda.at(self._agenda.now_s + step_s, partial(self._ramp, row, since_s))
        if ramp != row.ramp:
            row.ramp = min(1.0, ramp)
            self._changed()
