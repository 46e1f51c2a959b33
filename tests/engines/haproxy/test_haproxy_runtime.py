"""What a running HAProxy is told to reach a fleet, and when only a reload will do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from levelhead.engines.haproxy import runtime
from levelhead.engines.haproxy.config import Paths, Version, render, weights
from levelhead.engines.haproxy.runtime import Commands, Key, NeedsReload, Sampling, ServerState
from levelhead.model import Admin, Check, Fleet, Hash, LeastRequest, Limits, Listener, Pool, Route, Server
from tests.engines.haproxy.fleets import fleets

PATHS = Paths("/run/lh/haproxy.sock", "/run/lh/servers.state", "/run/lh/sampling.acl", "/run/lh/sampling.map")
NEW: Version = (2, 8, 25)
CHECK = Check("/health", interval_s=0.5)
FIXED = Hash("path", consistent=False)


def one(*servers: Server, **settings: object) -> Fleet:
    members = servers or tuple(Server(f"s{i}", "10.0.0.1", 3000 + i) for i in (1, 2, 3))
    pool = Pool("web", members, **({"check": CHECK, "slow_start_s": 0.0} | settings))  # type: ignore[arg-type]
    return Fleet((Listener("main", "0.0.0.0", 8080, (Route("web"),)),), (pool,))


def with_servers(fleet: Fleet, *servers: Server) -> Fleet:
    return replace(fleet, pools=(replace(fleet.pools[0], servers=servers),))


def live(fleet: Fleet) -> dict[Key, ServerState]:
    """What a process has that just loaded this fleet: its own file of states, read back."""
    return runtime.read_states(runtime.state_file(fleet, {}, frozenset()))


def planned(
    before: Fleet, after: Fleet, version: Version = NEW, states: dict[Key, ServerState] | None = None
) -> Commands | NeedsReload:  # fmt: skip
    old, new = (render(f, PATHS, version) for f in (before, after))
    return runtime.plan(old, new, live(before) if states is None else states, after, version)


def lines(before: Fleet, after: Fleet, **settings: object) -> tuple[str, ...]:
    plan = planned(before, after, **settings)  # type: ignore[arg-type]
    assert isinstance(plan, Commands), plan
    return plan.lines


def reason(before: Fleet, after: Fleet, **settings: object) -> str:
    plan = planned(before, after, **settings)  # type: ignore[arg-type]
    assert isinstance(plan, NeedsReload), plan
    return plan.because


S1, S2, S3 = one().pools[0].servers
S4 = Server("s4", "10.0.0.1", 3004, weight=50)


def test_a_weight_is_one_command() -> None:
    assert lines(one(), one(replace(S1, weight=20), S2, S3)) == ("set server web/s1 weight 20",)


def test_a_fraction_sets_the_weights_that_it_scales() -> None:
    wanted = one(replace(S1, weight=50.5), S2, S3)
    first, *others = weights(wanted.pools[0])

    assert lines(one(), wanted) == (
        f"set server web/s1 weight {first}", *(f"set server web/s{i + 2} weight {w}" for i, w in enumerate(others))
    )  # fmt: skip
    assert others[0] != 100


@pytest.mark.parametrize("admin", [Admin.DRAIN, Admin.MAINT])
def test_an_admin_state_is_one_command_there_and_back(admin: Admin) -> None:
    changed = one(S1, replace(S2, admin=admin), S3)

    assert lines(one(), changed) == (f"set server web/s2 state {admin.value}",)
    assert lines(changed, one()) == ("set server web/s2 state ready",)


def test_a_server_comes_with_its_check_and_state() -> None:
    drained = replace(S4, name="s5", admin=Admin.DRAIN)
    away = replace(S4, name="s6", admin=Admin.MAINT)

    assert lines(one(), one(S1, S2, S3, S4, drained, away)) == (
        "add server web/s4 10.0.0.1:3004 weight 50 check inter 500ms fall 3 rise 2",
        "enable health web/s4",
        "set server web/s4 state ready",
        "add server web/s5 10.0.0.1:3004 weight 50 check inter 500ms fall 3 rise 2",
        "enable health web/s5",
        "set server web/s5 state drain",
        "add server web/s6 10.0.0.1:3004 weight 50 check inter 500ms fall 3 rise 2",
        "enable health web/s6",
    )


def test_a_server_goes_out_of_service_and_is_deleted_later() -> None:
    fewer = one(S1, S2)
    ghosts = live(one()) | {("web", "s3"): replace(live(one())["web", "s3"], admin_bits=1)}

    assert lines(one(), fewer) == ("set server web/s3 state maint",)
    assert lines(fewer, fewer, states=ghosts) == ()
    assert runtime.leaving(live(one()), fewer) == ()
    assert runtime.leaving(ghosts, fewer) == (("web", "s3"),)
    assert runtime.farewell(("web", "s3"))[-1] == "del server web/s3"
    assert "only just leaving" in reason(fewer, one(), states=ghosts)


def test_a_server_moves_through_maintenance() -> None:
    moved = one(S1, S2, replace(S3, port=4000, weight=10))

    assert lines(one(), moved) == (
        "set server web/s3 state maint", "set server web/s3 addr 10.0.0.1 port 4000", "set server web/s3 weight 10",
        "set server web/s3 state ready",
    )  # fmt: skip


def test_what_is_already_so_needs_nothing() -> None:
    plan = planned(one(), one())

    assert plan == Commands((), "")


def test_the_process_is_believed_and_not_the_file() -> None:
    drifted = live(one()) | {("web", "s1"): replace(live(one())["web", "s1"], weight=3, admin_bits=8)}

    assert lines(one(), one(), states=drifted) == ("set server web/s1 weight 100", "set server web/s1 state ready")


@pytest.mark.parametrize(
    ("before", "after", "version", "why"),
    [
        (one(), one(policy=LeastRequest()), NEW, "`balance roundrobin` became `balance leastconn`"),
        (one(), one(check=replace(CHECK, path="/other")), NEW, "became `http-check send meth GET uri /other"),
        (one(), one(check=None), NEW, "`timeout check 1000ms` is gone"),
        (one(), one(limits=Limits(5)), NEW, "s1 in web changed from"),
        (one(), one(S1, S2, replace(S3, in_flight_limit=5)), NEW, "s3 in web changed from"),
        (one(), one(S1, S2, S3, replace(S4, host="db.local")), NEW, "looks up the name db.local"),
        (one(), one(S1, S2, S3, S4), (2, 5, 9), "HAProxy before 2.6 cannot add s4"),
        (one(), one(S1, S2), (2, 5, 9), "HAProxy before 2.6 cannot remove s3"),
        (one(affinity_cookie="c"), one(S1, S2, S3, S4, affinity_cookie="c"), (2, 6, 12), "affinity cookie"),
        (one(policy=FIXED), one(replace(S1, weight=1), S2, S3, policy=FIXED), NEW, "fixed table"),
        (one(policy=FIXED), one(S1, S2, S3, S4, policy=FIXED), NEW, "fixed table"),
    ],
)  # fmt: skip
def test_the_rest_needs_a_reload_and_says_why(before: Fleet, after: Fleet, version: Version, why: str) -> None:
    assert why in reason(before, after, version=version)


def test_a_listener_more_needs_a_reload() -> None:
    wider = replace(one(), listeners=(*one().listeners, Listener("b", "0.0.0.0", 81, (Route("web"),))))

    assert "frontend main" in reason(one(), wider) or "frontend b" in reason(one(), wider)


def test_affinity_cookies_come_with_a_server_since_2_8() -> None:
    before, after = one(affinity_cookie="c"), one(S1, S2, S3, S4, affinity_cookie="c")

    assert lines(before, after)[0].endswith("cookie s4")


@given(fleets(), st.data())
@settings(max_examples=100, deadline=None)
def test_a_plan_reaches_what_it_should(fleet: Fleet, data: st.DataObject) -> None:
    pools = tuple(
        replace(p, servers=tuple(
            replace(s, weight=float(data.draw(st.integers(0, 256))), admin=data.draw(st.sampled_from(Admin)))
            for s in p.servers
        ))
        for p in fleet.pools
    )  # fmt: skip
    wanted = replace(fleet, pools=pools)
    plan = planned(fleet, wanted)
    if isinstance(plan, NeedsReload):
        assert "fixed table" in plan.because
        return
    states = live(fleet)
    for line in plan.lines:
        _, _, name, what, value = line.split(" ")
        key = (name.split("/")[0], name.split("/")[1])
        if what == "weight":
            states[key] = replace(states[key], weight=int(value))
        else:
            states[key] = replace(states[key], admin_bits={"ready": 0, "drain": 8, "maint": 1}[value])

    assert planned(fleet, wanted, states=states) == Commands((), "")


def test_replies_with_a_severity_are_objections() -> None:
    asked = ("a", "b", "c", "d", "e", "f")
    replies = ("", "[3]: No such server.\n", "[6]: New server registered.\n", "[4]: no need to change the addr\n",
               "[6]: Unknown command: 'e', but maybe:\n  help\n")  # fmt: skip

    assert runtime.objections(asked, replies) == (
        "`b`: No such server", "`e`: Unknown command: 'e', but maybe:", "`f`: no answer",
    )  # fmt: skip


def test_the_file_of_states_holds_back_who_is_drained_and_down() -> None:
    fleet = one(S1, replace(S2, admin=Admin.DRAIN, weight=7), replace(S3, admin=Admin.MAINT), S4)
    text = render(fleet, PATHS, NEW)
    seen = live(fleet) | {
        ("web", "s1"): replace(live(fleet)["web", "s1"], operation=0, check_status=8, check_result=2, check_health=0),
        ("web", "s4"): replace(live(fleet)["web", "s4"], operation=0, admin_bits=1),
    }
    rows = runtime.read_states(runtime.state_file(fleet, seen, runtime.asked_alike(text, text)))

    assert [(s.server, s.weight, s.admin, s.down) for s in rows.values()] == [
        ("s1", 100, Admin.READY, True), ("s2", 7, Admin.DRAIN, False), ("s3", 100, Admin.MAINT, False),
        ("s4", 50, Admin.READY, False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "after",
    [
        one(check=replace(CHECK, path="/other")), one(check=replace(CHECK, status="200")), one(check=Check()),
        one(check=replace(CHECK, port=99)), one(check=None), one(replace(S1, port=9), S2, S3),
    ],
)  # fmt: skip
def test_a_verdict_does_not_outlive_its_question(after: Fleet) -> None:
    alike = runtime.asked_alike(render(one(), PATHS, NEW), render(after, PATHS, NEW))
    down = {key: replace(s, operation=0, check_result=2) for key, s in live(one()).items()}

    assert ("web", "s1") not in alike
    assert not runtime.read_states(runtime.state_file(after, down, alike))["web", "s1"].down


def test_a_verdict_outlives_other_changes() -> None:
    after = one(check=replace(CHECK, interval_s=9.0, fall=1), policy=LeastRequest())

    assert runtime.asked_alike(render(one(), PATHS, NEW), render(after, PATHS, NEW)) == {
        ("web", "s1"), ("web", "s2"), ("web", "s3"),
    }  # fmt: skip


def test_a_name_keeps_the_address_it_had_and_a_new_name_has_none() -> None:
    fleet = one(Server("s1", "app.internal", 80))
    text = render(fleet, PATHS, NEW)
    seen = {("web", "s1"): replace(live(one())["web", "s1"], host="10.9.9.9", port=80)}
    other = one(Server("s1", "other.internal", 80))

    kept = runtime.state_file(fleet, seen, runtime.asked_alike(text, text))
    fresh = runtime.state_file(other, seen, runtime.asked_alike(text, render(other, PATHS, NEW)))
    assert (kept.splitlines()[2].split()[4], fresh.splitlines()[2].split()[4]) == ("10.9.9.9", "-")


def test_states_that_are_none_are_left_out() -> None:
    assert runtime.read_states("1\n# be_id\n\n3 web 1 s1 10.0.0.1 x 0 1 1 1 1 1 1 1 1 1 1 - 80\nnonsense\n") == {}


def test_a_sampling_is_set_and_read_back() -> None:
    sampling = Sampling(5000, 160_000)
    patterns, values = runtime.sampling_files(sampling)

    assert runtime.set_sampling(sampling, PATHS) == (
        "clear acl /run/lh/sampling.acl", "set map /run/lh/sampling.map keep 5000",
        "set map /run/lh/sampling.map surge 160000", "add acl /run/lh/sampling.acl 0:4999",
    )  # fmt: skip
    assert patterns == "0:4999\n"
    assert runtime.read_sampling(values) == sampling
    assert runtime.sampling_files(Sampling())[0] == "0:999999\n"
    assert runtime.read_sampling("") is None
