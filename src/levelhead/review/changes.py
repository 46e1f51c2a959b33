"""What a change of a configuration does to traffic: whose share moves by how much, who goes, which default routes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from levelhead import predict
from levelhead.model import Fleet, Listener, Origin, Pool
from levelhead.review.base import Config, Rule, Trouble

MOST_REMOVED: Final = 0.25
MOST_MOVED: Final = 0.20


@dataclass(frozen=True, slots=True)
class ShareChange:
    """One server before and after; a share is None where there was, or is, no such server or nobody can tell."""

    server: str
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True)
class PoolChange:
    """One pool before and after. `moved` is the part of its requests that goes elsewhere, NaN where nobody can tell."""

    pool: str
    shares: tuple[ShareChange, ...]
    moved: float
    removed: tuple[str, ...]
    members_before: int
    origin: Origin

    @property
    def risky(self) -> bool:
        return self.shifted is not None or len(self.removed) > MOST_REMOVED * self.members_before

    @property
    def shifted(self) -> ShareChange | None:
        """Of the servers that stay, the one whose share changes most, if that is more than `MOST_MOVED`."""
        staying = [(abs(s.after - s.before), s) for s in self.shares if s.before is not None and s.after is not None]
        size, most = max(staying, key=lambda pair: pair[0], default=(0.0, None))
        return most if size > MOST_MOVED + 1e-9 else None


def changes(before: Fleet, after: Fleet) -> tuple[PoolChange, ...]:
    """Every pool whose members or shares differ, and that both know; a pool may come under another name."""
    found = []
    for new in after.pools:
        old = before.pool(new.name) or _renamed(before, after, new)
        if old is not None and old.servers and (change := _change(old, new)) is not None:
            found.append(change)
    return tuple(found)


def _change(old: Pool, new: Pool) -> PoolChange | None:
    names = _counterparts(old, new)
    gone = tuple(server.name for server in old.servers if server.name not in names.values())
    was = dict(zip((s.name for s in old.servers), predict.predicted(old).tolist(), strict=True))
    now = dict(zip((s.name for s in new.servers), predict.predicted(new).tolist(), strict=True))
    shares = (
        *(ShareChange(name, was.get(names.get(name, "")), share) for name, share in now.items()),
        *(ShareChange(name, was[name], None) for name in gone),
    )
    # Where nobody can serve before or after, no share moves: that is another trouble.
    served = sum(was.values()) > 0 and sum(now.values()) > 0
    moved = sum(max((s.after or 0.0) - (s.before or 0.0), 0.0) for s in shares) if served else float("nan")
    if not gone and all(s.before == s.after for s in shares):
        return None
    return PoolChange(new.name, shares, moved, gone, len(old.servers), new.origin)


def _counterparts(old: Pool, new: Pool) -> Mapping[str, str]:
    """Server of the new pool to that of the old one: of the same name, else of the same address."""
    by_address = {server.address: server.name for server in old.servers}
    names = {server.name: server.name for server in new.servers if old.server(server.name)}
    taken = set(names.values())
    for server in new.servers:
        same = by_address.get(server.address)
        if server.name not in names and same is not None and same not in taken:
            names[server.name] = same
            taken.add(same)
    return names


def _renamed(before: Fleet, after: Fleet, new: Pool) -> Pool | None:
    """A pool that is gone and has the same addresses."""
    addresses = {server.address for server in new.servers}
    for old in before.pools:
        if after.pool(old.name) is None and addresses and {server.address for server in old.servers} == addresses:
            return old
    return None


def _risky(config: Config[Any]) -> Iterator[Trouble]:
    if config.base is None:
        return
    before, after = config.base.fleet, config.fleet
    for change in changes(before, after):
        if change.risky:
            yield Trouble(change.origin, _said(change), change.pool)
    for gone in before.pools:
        if gone.servers and after.pool(gone.name) is None and not any(_renamed(before, after, p) for p in after.pools):
            where = Origin(next(iter(config.files), ""), 1, 1)
            yield Trouble(where, f"pool {gone.name} is removed with its {_count(len(gone.servers))}", gone.name)
    yield from _default_routes(before, after)


def _said(change: PoolChange) -> str:
    parts = []
    if change.removed:
        shown = ", ".join(change.removed[:4]) + (" and others" if len(change.removed) > 4 else "")
        parts.append(f"{len(change.removed)} of {_count(change.members_before)} removed ({shown})")
    if most := change.shifted:
        parts.append(f"{most.server} goes from {_share(most.before)} to {_share(most.after)} of requests")
    return f"{change.pool}: {'; '.join(parts)}"


def _default_routes(before: Fleet, after: Fleet) -> Iterator[Trouble]:
    """What takes whatever no other route takes, where the change sends it to another pool; each change once."""
    told: set[tuple[str, str]] = set()
    for listener in after.listeners:
        old = next((li for li in before.listeners if li.name == listener.name), None)
        was_to, now_to = _defaults(old) if old else {}, _defaults(listener)
        for host, was in was_to.items():
            now = now_to.get(host, "")
            if was == now or (was, now) in told or _same_pool(before, after, was, now):
                continue
            told.add((was, now))
            goes = f"goes to pool {now} and no longer to {was}" if now else f"went to pool {was} and now goes nowhere"
            whose = f" for {host}" if host else ""
            yield Trouble(listener.origin, f"the default route of {listener.name}{whose} {goes}", now or was)


def _defaults(listener: Listener) -> dict[str | None, str]:
    """The pool that gets the rest, by host; None is any host."""
    found: dict[str | None, str] = {}
    for route in listener.routes:
        if route.prefix == "/" and not route.condition:
            found.setdefault(route.host, route.pool)
    return found


def _same_pool(before: Fleet, after: Fleet, was: str, now: str) -> bool:
    """Whether the pool only got another name."""
    pool = after.pool(now)
    return pool is not None and before.pool(now) is None and _renamed(before, after, pool) == before.pool(was)


def _count(servers: int) -> str:
    return "1 server" if servers == 1 else f"{servers} servers"


def _share(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.0%}"


RULES: Final = (
    Rule(
        "LH076", "risky-diff", "warning",
        "a change that removes more than a quarter of a pool, moves more than 20 points of share, or edits a default "
        "route",
        "ship it in steps, and look at the traffic between them",
        haproxy=_risky, nginx=_risky, envoy=_risky, levelhead=_risky,
    ),
)  # fmt: skip
