"""What real HAProxys said (recorded/, made by record.py), read into Samples and Records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from levelhead.engines.haproxy import runtime, stats
from levelhead.engines.haproxy.config import MILLION
from levelhead.engines.haproxy.runtime import Sampling
from levelhead.model import Server
from levelhead.telemetry import Floats, Health, Missing, Sample, Standing, between
from tests.engines.haproxy.record import fleet

RECORDED = Path(__file__).parent / "recorded"
VERSIONS = ("2.6", "2.8")
FLEET = fleet(8080, {})
HEAD = (
    "# pxname,svname,qcur,scur,stot,dreq,econ,eresp,wretr,wredis,status,weight,uweight,check_status,hrsp_2xx,hrsp_5xx,"
    "cli_abrt,srv_abrt,"
)


def said(version: str, what: str) -> str:
    return (RECORDED / version / f"{what}.txt").read_text()


def reading(version: str, **settings: object) -> Sample:
    rows, states = stats.read_stat(said(version, "stat")), runtime.read_states(said(version, "states"))
    usual: dict[str, object] = {"at_s": 10.0, "epoch": 3, "before": None, "gone": {}}
    return stats.sample(rows, states, FLEET, **(usual | settings))  # type: ignore[arg-type]


def table(*rows: str) -> stats.Stats:
    return stats.read_stat("\n".join([HEAD, *rows]) + "\n")


def sampled(text: stats.Stats, before: Sample | None = None, gone: dict[str, float] | None = None) -> Sample:
    return stats.sample(text, {}, FLEET, at_s=1.0, epoch=1, before=before, gone=gone or {})


@pytest.mark.parametrize("version", VERSIONS)
def test_connections_are_counted_open_and_opened(version: str) -> None:
    now = reading(version)

    assert [of(now.connects, now, name) for name in ("fine", "drained", "slow")] == [8, 0, 2]
    assert [of(now.connections, now, name) for name in ("fine", "drained", "slow")] == [1, 0, 2]


def test_a_proxy_that_does_not_count_connections_leaves_them_unknown() -> None:
    now = sampled(table("web,fine,0,0,5,,0,0,0,0,UP,100,100,L7OK,5,0,0,0,"))

    assert np.isnan(of(now.connects, now, "fine"))
    assert np.isnan(of(now.connections, now, "fine"))


def of(column: Floats, sample: Sample, name: str) -> float:
    return float(column[sample.layout.servers.index(name)])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_recorded_table_is_read_whole(version: str) -> None:
    now = reading(version)

    assert (now.at_s, now.epoch) == (10.0, 3)
    assert now.layout.servers == ("fine", "drained", "away", "down", "closes", "slow", "plain")
    assert now.health.tolist() == [
        Health.PASSING, Health.PASSING, Health.UNKNOWN, Health.FAILING, Health.PASSING, now.health[5], Health.UNCHECKED,
    ]  # fmt: skip
    assert now.standing.tolist() == [
        Standing.READY, Standing.DRAIN, Standing.MAINT, Standing.READY, Standing.READY, Standing.READY, Standing.READY,
    ]  # fmt: skip
    assert now.weight.tolist() == [30, 100, 100, 100, 10, 100, 0.5]
    assert now.ramp.tolist() == [1] * 7
    assert now.in_flight.tolist() == [0, 0, 0, 0, 0, 2, 0]
    assert now.queued.tolist() == [0] * 7
    assert now.errors_5xx.sum() == 3
    assert of(now.requests, now, "plain") == 2


@pytest.mark.parametrize("version", VERSIONS)
def test_every_failed_attempt_counts_once_in_either_version(version: str) -> None:
    now = reading(version)
    rows = stats.read_stat(said(version, "stat"))

    # Six requests to /close failed: three POSTs in one attempt, three GETs in one and then in as many as were left.
    assert of(now.redispatches, now, "down") == of(now.requests, now, "down")
    assert of(now.response_errors, now, "down") == 0
    again = sum(rows["web", name]["wretr"] for name in ("fine", "closes"))
    given_up = 6 - sum(rows["web", name]["econ"] for name in ("fine", "closes", "down"))
    assert of(now.response_errors, now, "fine") + of(now.response_errors, now, "closes") == again + given_up
    assert now.response_errors[[1, 2, 5, 6]].tolist() == [0, 0, 0, 0]
    assert now.retries.tolist() == [0] * 7


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_pool_knows(version: str) -> None:
    pool = reading(version).pool

    assert pool.arrived.tolist() == [17, 7, 2]
    assert pool.errors_5xx.tolist() == [9, 2, 0]
    assert pool.refused.tolist() == [0, 2, 0]
    assert pool.in_flight.tolist() == [0, 2, 0]
    assert pool.queued.tolist() == [0, 3, 0]


def test_a_server_that_is_not_reported_is_unknown() -> None:
    wider = replace(FLEET, pools=(replace(FLEET.pools[0], servers=(*FLEET.pools[0].servers, Server("new", "h", 1))),))
    rows = stats.read_stat(said("2.8", "stat"))
    now = stats.sample(rows, {}, wider, at_s=1.0, epoch=1, before=None, gone={})

    assert np.isnan([now.requests[5], now.in_flight[5], now.weight[5], now.response_errors[5], now.retries[5]]).all()
    assert (now.health[5], now.standing.tolist()) == (Health.UNKNOWN, [Standing.UNKNOWN] * 6)


def test_a_pool_that_is_not_reported_is_unknown() -> None:
    now = sampled(table("web,BACKEND,0,0,5,0,0,0,0,0,UP,1,1,,5,0,0,0,"))

    assert now.pool.arrived[0] == 5
    assert np.isnan(now.pool.arrived[1:]).all()
    assert np.isnan(now.pool.queued[1:]).all()


def test_slow_start_is_a_part_of_the_weight() -> None:
    now = sampled(table(
        "web,fine,0,0,0,0,0,0,0,0,UP 1/3,7,30,L7OK,0,0,0,0,", "web,down,0,0,0,0,0,0,0,0,DOWN,7,100,L4CON,0,0,0,0,",
        "plain,plain,0,0,0,0,0,0,0,0,no check,64,256,,0,0,0,0,",
    ))  # fmt: skip

    assert of(now.weight, now, "fine") == 30
    assert of(now.ramp, now, "fine") == pytest.approx(7 / 30)
    assert of(now.ramp, now, "down") == 1, "a server that is down is not starting"
    assert (of(now.weight, now, "plain"), of(now.ramp, now, "plain")) == (0.5, 0.25)


@pytest.mark.parametrize(
    ("status", "check", "health"),
    [
        ("UP", "L7OK", Health.PASSING), ("UP 1/3", "* L7STS", Health.PASSING), ("UP", "INI", Health.UNKNOWN),
        ("DOWN", "L4TOUT", Health.FAILING), ("DOWN 1/2", "L7OK", Health.FAILING), ("NOLB", "L7OKC", Health.FAILING),
        ("DRAIN", "L7OK", Health.PASSING), ("DRAIN", "", Health.UNCHECKED), ("no check", "", Health.UNCHECKED),
        ("MAINT", "", Health.UNKNOWN), ("MAINT (resolution)", "", Health.UNKNOWN), ("strange", "L7OK", Health.UNKNOWN),
    ],
)  # fmt: skip
def test_words_of_health(status: str, check: str, health: Health) -> None:
    now = sampled(table(f"web,fine,0,0,0,0,0,0,0,0,{status},1,1,{check},0,0,0,0,"))

    assert now.health[0] == health


def test_refused_connections_are_not_broken_answers() -> None:
    now = sampled(table("web,fine,0,1,20,0,2,0,0,7,UP,1,1,L4OK,10,0,0,0,"))

    assert (now.connect_errors[0], now.redispatches[0], now.retries[0], now.response_errors[0]) == (2, 7, 0, 0)


def test_a_difference_of_columns_never_falls() -> None:
    first = sampled(table("web,fine,0,0,12,0,0,0,0,0,UP,1,1,L4OK,10,0,0,0,"))
    second = sampled(table("web,fine,0,3,14,0,0,0,0,0,UP,1,1,L4OK,10,0,0,0,"), first)
    again = sampled(table("web,fine,0,0,3,0,0,0,0,0,UP,1,1,L4OK,3,0,0,0,"), second)

    assert [s.response_errors[0] for s in (first, second)] == [2, 2]
    assert again.response_errors[0] == 0, "another server of the same name starts afresh"


def test_a_server_that_left_takes_its_errors_along() -> None:
    rows = ("web,fine,0,0,9,0,4,0,0,0,UP,1,1,L4OK,5,0,0,0,", "web,BACKEND,0,0,9,1,6,0,0,0,UP,1,1,,5,0,0,0,")
    with_it = sampled(table(*rows))
    without = sampled(table(rows[1]), with_it, {"web": 4.0})

    assert (with_it.pool.refused[0], without.pool.refused[0]) == (3, 3)


def test_two_recordings_of_one_epoch_make_a_tick() -> None:
    first = reading("2.8")
    second = replace(reading("2.8", before=first, at_s=10.25), requests=first.requests + 5)
    tick = between(first, second)

    assert not isinstance(tick, Missing)
    assert tick.requests.tolist() == [5] * 7
    assert tick.failures().tolist() == [0] * 7


@pytest.mark.parametrize("version", VERSIONS)
def test_info_and_processes_are_read(version: str) -> None:
    info, processes = stats.read_info(said(version, "info")), stats.read_processes(said(version, "proc"))

    assert info.version.startswith(version)
    assert (info.pid, processes.failed) == (processes.worker, 0)
    assert info.requests >= 26
    assert processes.master > 0


def test_a_failed_reload_shows_in_the_processes() -> None:
    text = (
        "#<PID>          <type>          <reloads>       <uptime>        <version>\n"
        "70              master          4 [failed: 1]   0d00h00m03s     2.6.12\n"
        "# workers\n90              worker          0               0d00h00m03s     2.6.12\n"
        "# old workers\n80              worker          1               0d00h00m03s     2.6.12\n# programs\n\n"
    )

    assert stats.read_processes(text) == stats.Processes(master=70, failed=1, worker=90)


@pytest.mark.parametrize("read", [stats.read_stat, stats.read_info, stats.read_processes])
def test_what_is_something_else_is_refused(read: object) -> None:
    assert callable(read)
    for text in ("", "Unknown command.\n", "\n\n"):
        with pytest.raises(ValueError, match="not"):
            read(text)


def test_lines_become_records() -> None:
    lines = [
        "web fine 200 -- 3 2817 1000000 - 10.0.0.1",
        "web closes 502 SH 1 997 500000 - user with spaces",
        "web down 200 SD 4 3512 1000000 - -",
        "web <NOSRV> 503 SC 0 94 1000000 - 10.0.0.2",
        "slow slow -1 CH 900 899123 1000000 - 10.0.0.3",
        "gone s9 200 -- 5 - 1000000 - 10.0.0.4",
        "web fine 200 -- 2 5000000 1000000 32 10.0.0.5",
    ]
    read = stats.read_lines(lines, stats.layout(FLEET))

    assert read.malformed == 0
    assert read.records.row.tolist() == [0, 4, 3, -1, 5, -1, 0]
    assert read.records.status.tolist() == [200, 502, -1, 503, -1, 200, 200]
    assert read.records.latency_ms.tolist() == [2.817, 0.997, 3.512, 0.094, 899.123, 5.0, 2.0]
    assert read.records.client == ("10.0.0.1", "user with spaces", "", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5")
    assert read.records.weight == pytest.approx(39 / 7)


def test_lines_that_are_none_are_counted_and_half_requests_left_out() -> None:
    lines = [
        "", "web fine 200", "web fine abc -- 1 900 1000000 - x", "web fine 200 -- 1 900 0 - x", "\ufffd\ufffd",
        "main <NOSRV> 400 PR 0 - - - -", "main <NOSRV> 408 cR 10000 - - - -", "web fine 200 -- 1 900 1000000 - x",
    ]  # fmt: skip
    read = stats.read_lines(lines, stats.layout(FLEET))

    assert (read.malformed, read.records.row.tolist()) == (5, [0])


@pytest.mark.parametrize(
    ("rate", "keep", "then"),
    [
        (0.0, 100, Sampling(MILLION, 800)), (200.0, 5, Sampling(MILLION, 800)),
        (400.0, MILLION, Sampling(500_000, 1600)), (400.0, 510_000, Sampling(510_000, 7)),
        (40_000.0, MILLION, Sampling(5_000, 160_000)), (1e12, MILLION, Sampling(1, 800_000_000)),
        (201.0, 1_000, Sampling(995_025, 804)),
    ],
)  # fmt: skip
def test_sampling_follows_the_rate(rate: float, keep: int, then: Sampling) -> None:
    assert stats.sampling_for(rate, 200.0, Sampling(keep, 7)) == then
