"""What HAProxy says of itself, as Samples and Records: `show stat`, `show info`, `show proc` and its lines per request.

Counters, in HAProxy's columns:

    requests         stot: attempts that the server was given. A request that failed here and went on to another server
                     counts once on each; connections that were refused count; requests that wait do not count yet.
    errors_5xx       hrsp_5xx: answers the server gave. What the proxy answered in its place is in the pool only.
    connect_errors   econ: requests given up because no connection could be made.
    redispatches     wredis: attempts that failed here and were made again on another server.
    retries          wretr less those of wredis: attempts that failed here and were made again here.
    response_errors  attempts that brought no whole answer, connections that failed not counted (in a pool of one
                     server those that were tried again are). Whatever was given is answered, in flight or failed,
                     so it is what the other columns leave of stot, and srv_abrt. HAProxy's own `eresp` counts one
                     failure once in 2.6, and once or twice in 2.8.
    connects         connect: connections that were tried to be opened to the server.
    in_flight        scur: requests that the server has now; idle keep-alive connections are not in it.
    connections      used_conn_cur and srv_icur: connections that are open, in use and idle.

`retries` and `response_errors` are differences of columns read one after the other: they are held at their highest.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from levelhead.engines.haproxy.config import MILLION, weights
from levelhead.engines.haproxy.runtime import Key, Sampling, States
from levelhead.model import Admin, Fleet
from levelhead.telemetry import (
    NO_RECORDS,
    Floats,
    Health,
    Layout,
    PoolCounters,
    Records,
    Sample,
    Standing,
    moved_pools,
    moved_rows,
    reindexed,
)  # fmt: skip

_UNKNOWN: Final = float("nan")
_DEADBAND: Final = 0.15
_SURGE: Final = 4.0
_STANDINGS: Final = {Admin.READY: Standing.READY, Admin.DRAIN: Standing.DRAIN, Admin.MAINT: Standing.MAINT}
_ANSWERS: Final = ("hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other")


# The columns a Sample is made of; the other hundred are not turned into numbers.
_COLUMNS: Final = (
    "qcur", "scur", "stot", "dreq", "econ", "wretr", "wredis", "weight", "uweight", "cli_abrt", "srv_abrt", "connect",
    "used_conn_cur", "srv_icur", *_ANSWERS,
)  # fmt: skip
_PLACE: Final = {name: i for i, name in enumerate(_COLUMNS)}
_NOTHING: Final = (_UNKNOWN,) * len(_COLUMNS)


@dataclass(frozen=True, slots=True)
class Stat:
    """One row of `show stat`: the two texts of its health, and the numbers in the order of `_COLUMNS`, NaN for none."""

    status: str
    check_status: str
    numbers: tuple[float, ...]

    def __getitem__(self, column: str) -> float:
        return self.numbers[_PLACE[column]]


Stats = Mapping[Key, Stat]


@dataclass(frozen=True, slots=True)
class Info:
    """Of `show info`: which worker answers, for how long it runs, what it has served and could not record."""

    pid: int
    version: str
    uptime_s: int
    requests: int
    dropped_records: int


@dataclass(frozen=True, slots=True)
class Processes:
    """Of `show proc`: the master, how many reloads in a row failed, and the worker that is current (0 if none)."""

    master: int
    failed: int
    worker: int


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines per request, read: the records, and how many lines were none."""

    records: Records
    malformed: int


def read_stat(text: str) -> dict[Key, Stat]:
    """`show stat` (CSV) by pool and server; the sums of a pool are its server BACKEND. ValueError if it is not that."""
    lines = text.strip().splitlines()
    if not lines or not lines[0].startswith("# pxname,svname,"):
        raise ValueError(f"not the table of `show stat`: {text[:60]!r}")
    head = {name: i for i, name in enumerate(lines[0][2:].split(","))}
    wanted = [head.get(name, -1) for name in _COLUMNS]  # the last cell of a line is always empty
    status, check = head["status"], head["check_status"]
    found = {}
    for row in csv.reader(lines[1:]):
        if len(row) == len(head):
            numbers = tuple([float(row[i]) if row[i] else _UNKNOWN for i in wanted])
            found[row[0], row[1]] = Stat(row[status], row[check].removeprefix("* "), numbers)
    return found


def read_info(text: str) -> Info:
    """`show info`; ValueError if it does not name its process."""
    said = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    try:
        return Info(
            pid=int(said["Pid"]), version=said["Version"], uptime_s=int(said["Uptime_sec"]),
            requests=int(said["CumReq"]), dropped_records=int(said.get("DroppedLogs", "0")),
        )  # fmt: skip
    except KeyError as missing:
        raise ValueError(f"not `show info`, it has no {missing}") from None


def read_processes(text: str) -> Processes:
    """`show proc` of the master's socket; ValueError if it names no master."""
    master = failed = worker = 0
    old = False
    for line in text.splitlines():
        if line.startswith("#"):
            old = line.startswith("# old")
            continue
        words = line.split()
        if len(words) < 3:
            continue
        if words[1] == "master":
            master = int(words[0])
            said = re.search(r"\[failed: (\d+)\]", line)
            failed = int(said[1]) if said else 0
        elif words[1] == "worker" and not old and words[2] == "0":
            worker = int(words[0])
    if not master:
        raise ValueError(f"not `show proc`: {text[:60]!r}")
    return Processes(master, failed, worker)


def layout(fleet: Fleet) -> Layout:
    """Which row is which server: the order of the fleet."""
    return Layout.of(tuple((p.name, tuple(s.name for s in p.servers)) for p in fleet.pools))


def sample(
    stats: Stats, states: States, fleet: Fleet, *, at_s: float, epoch: int, before: Sample | None,
    gone: Mapping[str, float],
) -> Sample:  # fmt: skip
    """One reading, in the order of the fleet; a server that HAProxy does not report is NaN and UNKNOWN.

    `before` is the sample before this one; `gone` are the `econ` of servers deleted since the epoch began, by pool.
    """
    where = layout(fleet)
    keys = [(pool, name) for pool, rows in where.each() for name in where.servers[rows]]
    rows = [stats.get(key) for key in keys]

    table = np.asarray([_NOTHING if row is None else row.numbers for row in rows]).reshape(-1, len(_COLUMNS))

    def column(name: str) -> Floats:
        return table[:, _PLACE[name]]

    answered = np.nansum(table[:, [_PLACE[name] for name in _ANSWERS]], axis=1)
    econ, again, elsewhere = column("econ"), column("wretr"), column("wredis")
    refused = econ + np.fmax(elsewhere - again, 0.0)
    broken = column("stot") - answered - column("scur") - column("cli_abrt") - refused
    broken = np.where(np.isnan(broken), np.nan, np.fmax(broken, 0.0)) + column("srv_abrt")
    unit = np.asarray([u for pool in fleet.pools for u in _units(pool.name, fleet)])
    told = [states.get(key) for key in keys]
    standing = [Standing.UNKNOWN if state is None else _STANDINGS[state.admin] for state in told]
    now = Sample(
        at_s=at_s, epoch=epoch, layout=where, requests=column("stot"), errors_5xx=column("hrsp_5xx"),
        connect_errors=econ, response_errors=broken, retries=np.fmax(again - elsewhere, 0.0) + 0.0 * again,
        redispatches=elsewhere, connects=column("connect"), connections=column("used_conn_cur") + column("srv_icur"),
        in_flight=column("scur"), queued=column("qcur"), weight=column("uweight") * unit,
        ramp=np.asarray([1.0 if row is None else _ramp(row) for row in rows]),
        health=np.asarray([Health.UNKNOWN if row is None else _health(row) for row in rows], dtype=np.int8),
        standing=np.asarray(standing, dtype=np.int8), pool=_pools(stats, where, gone),
    )  # fmt: skip
    return now if before is None or before.epoch != epoch else _never_falling(before, now)


def sampling_for(rate: float, target: float, now: Sampling) -> Sampling:
    """The sampling that records `target` requests a second of `rate`: all of them below the target.

    Small changes are not worth a command, so the present one stays while it is near enough.
    """
    keep = MILLION if rate <= target else max(round(MILLION * target / rate), 1)
    if keep != MILLION and abs(keep - now.keep) <= _DEADBAND * now.keep:
        return now
    return Sampling(keep, max(round(_SURGE * target * MILLION / keep), 1))


def read_lines(lines: Iterable[str], where: Layout) -> Lines:
    """Lines per request as Records, with rows in this layout.

    A line says: pool, server, status, how the request ended, milliseconds, microseconds, sampling, whether it was
    thinned out in a surge, client. Requests that never arrived whole (the client gave up or wrote nonsense) belong to
    no pool and are left out. An answer that the server broke off is no answer: -1. The weight is the mean of what each
    record stands for.
    """
    rows = {(pool, name): i for pool, part in where.each() for i, name in _numbered(where, part)}
    row: list[int] = []
    status: list[int] = []
    latency: list[float] = []
    client: list[str] = []
    stands_for = 0.0
    malformed = 0
    for line in lines:
        words = line.split(" ", 8)
        if len(words) == 9 and len(words[3]) >= 2 and words[3][1] == "R":
            continue
        try:
            pool, server, code, ended, ms, us, keep, thin, who = words
            share = int(keep) / MILLION / (1 if thin == "-" else int(thin))
            found = (rows.get((pool, server), -1), int(code), _latency_ms(ms, us), 1.0 / share)
        except (ValueError, ZeroDivisionError):
            malformed += 1
            continue
        cut = ended[:2] in ("SD", "sD")
        row.append(found[0])
        status.append(found[1] if found[1] > 0 and not cut else -1)
        latency.append(found[2])
        stands_for += found[3]
        client.append("" if who == "-" else who)
    if not row:
        return Lines(NO_RECORDS, malformed)
    records = Records(
        np.asarray(row, dtype=np.int64), np.asarray(status, dtype=np.int64), np.asarray(latency), tuple(client),
        stands_for / len(row),
    )  # fmt: skip
    return Lines(records, malformed)


def _numbered(where: Layout, part: slice) -> list[tuple[int, str]]:
    return [(part.start + i, name) for i, name in enumerate(where.servers[part])]


def _latency_ms(ms: str, us: str) -> float:
    """The microseconds where they agree with HAProxy's own clock, which does not follow steps of the wall clock."""
    coarse = float(ms)
    if not us.lstrip("-").isdigit():
        return coarse
    fine = int(us) / 1000.0
    return fine if 0.0 <= fine <= coarse + 2.0 else coarse


def _units(pool: str, fleet: Fleet) -> list[float]:
    """What one of HAProxy's units of weight is in the fleet's, per server."""
    found = fleet.pool(pool)
    if found is None:
        return []
    pairs = [(s.weight, w) for s, w in zip(found.servers, weights(found), strict=True)]
    usual = next((ours / theirs for ours, theirs in pairs if theirs), 1.0)
    return [ours / theirs if theirs else usual for ours, theirs in pairs]


def _health(row: Stat) -> Health:
    """HAProxy's words: UP and `UP 1/3` serve, DOWN and `DOWN 1/2` do not; NOLB answers but wants no one."""
    if row.status == "no check":
        return Health.UNCHECKED
    if row.status.startswith("DOWN") or row.status.startswith("NOLB"):
        return Health.FAILING
    if row.status.startswith("MAINT") or row.check_status in ("UNK", "INI"):
        return Health.UNKNOWN
    if row.status.startswith(("UP", "DRAIN")):
        return Health.PASSING if row.check_status else Health.UNCHECKED
    return Health.UNKNOWN


def _ramp(row: Stat) -> float:
    granted, whole = row["weight"], row["uweight"]
    if not row.status.startswith(("UP", "no check")) or not whole > 0 or not granted < whole:
        return 1.0
    return granted / whole


def _pools(stats: Stats, where: Layout, gone: Mapping[str, float]) -> PoolCounters:
    arrived, errors, refused, in_flight, queued = ([_UNKNOWN] * len(where.pools) for _ in range(5))
    members: dict[str, list[Stat]] = {pool: [] for pool in where.pools}
    for (pool, name), row in stats.items():
        if pool in members and name not in ("FRONTEND", "BACKEND"):
            members[pool].append(row)
    for i, pool in enumerate(where.pools):
        total = stats.get((pool, "BACKEND"))
        if total is None:
            continue
        waiting = total["qcur"] + sum(row["qcur"] for row in members[pool])
        arrived[i], errors[i], queued[i] = total["stot"], total["hrsp_5xx"], waiting
        refused[i] = total["dreq"] + total["econ"] - sum(row["econ"] for row in members[pool]) - gone.get(pool, 0.0)
        in_flight[i] = max(total["scur"] - waiting, 0.0)
    return PoolCounters(*(np.asarray(c, dtype=np.float64) for c in (arrived, errors, refused, in_flight, queued)))


def _never_falling(before: Sample, now: Sample) -> Sample:
    """Counters that are differences, held at their highest value so far.

    A row whose own count of requests fell is another server of the same name: it starts afresh.
    """
    rows = moved_rows(before.layout, now.layout)
    same = reindexed(before.requests, rows, np.inf) <= now.requests
    pools = moved_pools(before.layout, now.layout)

    def held(old: Floats, new: Floats) -> Floats:
        return np.where(same, np.fmax(reindexed(old, rows, np.nan), new), new)

    refused = np.fmax(reindexed(before.pool.refused, pools, np.nan), now.pool.refused)
    return replace(
        now, response_errors=held(before.response_errors, now.response_errors),
        retries=held(before.retries, now.retries), pool=replace(now.pool, refused=refused),
    )  # fmt: skip
