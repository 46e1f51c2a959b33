"""What a running HAProxy needs to reach a fleet: commands for its socket, or the reason why only a reload will do.

    read_states(text)          `show servers state` as data: the truth about what is in force
    plan(...)                  commands, or NeedsReload
    objections(...)            what the process answered that was not agreement
    state_file(...)            what a new process must know before its first request: who is drained, who is down
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from levelhead.engines.haproxy.config import MILLION, SERVER_INDENT, Paths, Version, is_name, server_words, weights
from levelhead.model import Admin, Fleet, Hash, Pool, Server

NOT_LIVE: Final[Version] = (2, 6, 0)
"""Before this version a server with a check cannot come or go while the process runs."""
LIVE_COOKIES: Final[Version] = (2, 8, 0)
"""Before this version a server that comes while the process runs cannot have an affinity cookie."""

_STATE_HEADER: Final = (
    "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight "
    "srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state "
    "bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr "
    "srv_agent_addr srv_agent_port\n"
)
_MAINT_BITS: Final = 0x01 | 0x02 | 0x20
_DRAIN_BITS: Final = 0x08 | 0x10
_STOPPED: Final = 0
_RUNNING: Final = 2
_CHECKING: Final = 6

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ServerState:
    """One row of `show servers state`: a server as the process has it now."""

    pool: str
    server: str
    host: str
    port: int
    operation: int
    admin_bits: int
    weight: int
    since_s: int
    check_status: int
    check_result: int
    check_health: int

    @property
    def admin(self) -> Admin:
        if self.admin_bits & _MAINT_BITS:
            return Admin.MAINT
        return Admin.DRAIN if self.admin_bits & _DRAIN_BITS else Admin.READY

    @property
    def down(self) -> bool:
        """Its check says so; a server in maintenance is stopped too, but says nothing about itself."""
        return self.operation == _STOPPED and self.admin is not Admin.MAINT


States = Mapping[Key, ServerState]


@dataclass(frozen=True, slots=True)
class Sampling:
    """Of how many requests a record is made.

    `keep` is in millionths. A listener that gets more than `surge` requests a second gets more than `keep` was meant
    for: until it is set anew, one in 32 of its records is made, so a surge is cheap also while nobody watches.
    """

    keep: int = MILLION
    surge: int = 1000


@dataclass(frozen=True, slots=True)
class Commands:
    """Lines for the runtime socket, and what they do in words."""

    lines: tuple[str, ...]
    because: str


@dataclass(frozen=True, slots=True)
class NeedsReload:
    """The running process cannot be brought there; a new one must be loaded."""

    because: str


@dataclass(frozen=True, slots=True)
class _Line:
    """One server as a file has it: where it is, and the words that only a reload can change."""

    address: str
    fixed: str


def read_states(text: str) -> dict[Key, ServerState]:
    """`show servers state` by pool and server; lines that are not of its first version are left out."""
    found = {}
    for line in text.splitlines():
        words = line.split(" ")
        if line.startswith("#") or len(words) < 19:
            continue
        try:
            state = ServerState(
                pool=words[1], server=words[3], host=words[4], port=int(words[18]), operation=int(words[5]),
                admin_bits=int(words[6]), weight=int(words[7]), since_s=int(words[9]), check_status=int(words[10]),
                check_result=int(words[11]), check_health=int(words[12]),
            )  # fmt: skip
        except ValueError:
            continue
        found[state.pool, state.server] = state
    return found


def plan(old_text: str, new_text: str, live: States, fleet: Fleet, version: Version) -> Commands | NeedsReload:
    """How the process that loaded `old_text`, and now has the servers `live`, gets to `fleet`, which `new_text` is.

    Weights, states and members change while it runs. Servers that must go are taken out of service here; they are
    deleted later, when their last request has finished (`farewell`).
    """
    old_frame, old_lines = _taken_apart(old_text)
    new_frame, new_lines = _taken_apart(new_text)
    if old_frame != new_frame:
        return NeedsReload(_first_difference(old_frame, new_frame))
    lines: list[str] = []
    what: dict[str, None] = {}
    members: dict[str, dict[str, ServerState]] = {pool.name: {} for pool in fleet.pools}
    for (name, _), state in live.items():
        members.setdefault(name, {})[state.server] = state
    for pool in fleet.pools:
        present = members[pool.name]
        for server, weight in zip(pool.servers, weights(pool), strict=True):
            key = (pool.name, server.name)
            known, now = old_lines.get(key), present.get(server.name)
            if now is None or known is None:
                step = _added(pool, server, weight, version, now)
            else:
                step = _changed(pool, server, weight, now, known, new_lines[key])
            if isinstance(step, NeedsReload):
                return step
            lines += step.lines
            what |= dict.fromkeys([step.because] if step.lines else [])
        for name, state in present.items():
            if pool.server(name) is None and state.admin is not Admin.MAINT:
                if version < NOT_LIVE:
                    return NeedsReload(f"HAProxy before 2.6 cannot remove {name} from {pool.name} while it runs")
                lines.append(f"set server {pool.name}/{name} state maint")
                what["members"] = None
    return Commands(tuple(lines), f"{' and '.join(what)} can change while it runs" if what else "")


def objections(lines: tuple[str, ...], replies: tuple[str, ...]) -> tuple[str, ...]:
    """What the process did not agree to, one sentence for each command; replies carry severities."""
    found = []
    for i, line in enumerate(lines):
        reply = replies[i].strip() if i < len(replies) else "no answer"
        severity = re.match(r"\[(\d)\]: ?", reply)
        bad = (severity is not None and int(severity[1]) <= 3) or "Unknown command" in reply or reply == "no answer"
        if bad:
            text = reply[severity.end() :] if severity else reply
            found.append(f"`{line}`: {text.splitlines()[0].rstrip('.')}")
    return tuple(found)


def leaving(live: States, fleet: Fleet) -> tuple[Key, ...]:
    """Servers that the process still has, out of service, and the fleet has no more."""
    wanted = {(p.name, s.name) for p in fleet.pools for s in p.servers}
    pools = {p.name for p in fleet.pools}
    return tuple(k for k, s in live.items() if k not in wanted and k[0] in pools and s.admin is Admin.MAINT)


def farewell(key: Key) -> tuple[str, ...]:
    """Deletes a server that is out of service and idle.

    It does not go while connections are attached, and connections that a request gave back after the server went
    out of service stay idle for good; giving it another address closes those.
    """
    name = "/".join(key)
    return (f"set server {name} addr 127.0.0.1 port 1", f"del server {name}")


def set_sampling(sampling: Sampling, paths: Paths) -> tuple[str, ...]:
    """Puts a sampling in force. Between two of these commands nothing is recorded, for microseconds."""
    return (
        f"clear acl {paths.sampling_acl}",
        f"set map {paths.sampling_map} keep {sampling.keep}",
        f"set map {paths.sampling_map} surge {sampling.surge}",
        f"add acl {paths.sampling_acl} {_range(sampling)}",
    )


def sampling_files(sampling: Sampling) -> tuple[str, str]:
    """What a process that starts reads: the list of patterns, and the map."""
    return f"{_range(sampling)}\n", f"keep {sampling.keep}\nsurge {sampling.surge}\n"


def read_sampling(text: str) -> Sampling | None:
    """The sampling that a map holds; None if it is none."""
    found = re.fullmatch(r"keep (\d+)\nsurge (\d+)\n", text)
    return Sampling(int(found[1]), int(found[2])) if found else None


def _range(sampling: Sampling) -> str:
    return f"0:{max(sampling.keep, 1) - 1}"


def state_file(fleet: Fleet, live: States, alike: frozenset[Key]) -> str:
    """The file of server states that a new process reads before its first request.

    Weights, addresses and admin states are the fleet's; a drained server gets no new user from the first moment.
    Whether a server is down comes from `live` if it is in `alike`; otherwise it counts as up until its check says more.
    """
    rows = []
    for number, pool in enumerate(fleet.pools, 1):
        for position, (server, weight) in enumerate(zip(pool.servers, weights(pool), strict=True), 1):
            key = (pool.name, server.name)
            told = live.get(key) if key in alike else None
            rows.append(f"{number} {pool.name} {position} {server.name} {_state_words(pool, server, weight, told)}")
    return _STATE_HEADER + "".join(f"{row}\n" for row in rows)


def asked_alike(old_text: str, new_text: str) -> frozenset[Key]:
    """Servers whose checks ask the same, at the same address, in both files, so that the last answers still count."""
    old, new = _questions(old_text), _questions(new_text)
    return frozenset(key for key, question in new.items() if old.get(key) == question)


def _state_words(pool: Pool, server: Server, weight: int, told: ServerState | None) -> str:
    admin = {Admin.READY: 0x00, Admin.DRAIN: 0x08, Admin.MAINT: 0x05}[server.admin]
    checking = _CHECKING if pool.check is not None else 0
    host = server.host if not is_name(server.host) else (told.host if told is not None else "-")
    steady = pool.check.rise + pool.check.fall - 1 if pool.check is not None else 1
    operation, since, verdict = _RUNNING, 0, f"1 0 {max(pool.check.rise, 1) if pool.check is not None else 1}"
    if told is not None and Admin.MAINT not in (told.admin, server.admin):
        operation, since = told.operation, told.since_s
        verdict = f"{told.check_status} {told.check_result} {min(told.check_health, steady)}"
    past = f"{operation} {admin} {weight} {weight} {since} {verdict} {checking}"
    return f"{host} {past} 0 0 0 - {server.port} - 0 0 - - 0"


def _added(
    pool: Pool, server: Server, weight: int, version: Version, state: ServerState | None
) -> Commands | NeedsReload:  # fmt: skip
    where = f"{server.name} to {pool.name}"
    if state is not None:
        return NeedsReload(f"a server called {server.name} is only just leaving {pool.name}")
    if version < NOT_LIVE:
        return NeedsReload(f"HAProxy before 2.6 cannot add {where} while it runs")
    if _is_static(pool):
        return NeedsReload(f"{pool.name} hashes into a fixed table, which only a reload builds anew")
    if pool.affinity_cookie is not None and version < LIVE_COOKIES:
        return NeedsReload(f"HAProxy before 2.8 cannot give {server.name} an affinity cookie while it runs")
    if is_name(server.host):
        return NeedsReload(f"only a reload looks up the name {server.host} of {server.name}")
    name = f"{pool.name}/{server.name}"
    lines = [f"add server {name} {server.address} {server_words(pool, server, weight)}"]
    lines += [f"enable health {name}"] if pool.check is not None else []
    lines += [f"set server {name} state {server.admin.value}"] if server.admin is not Admin.MAINT else []
    return Commands(tuple(lines), "members")


def _changed(
    pool: Pool, server: Server, weight: int, state: ServerState, known: _Line, new: _Line
) -> Commands | NeedsReload:  # fmt: skip
    name = f"{pool.name}/{server.name}"
    if known.fixed != new.fixed:
        return NeedsReload(f"{server.name} in {pool.name} changed from `{known.fixed}` to `{new.fixed}`")
    if is_name(server.host) and known.address != new.address:
        return NeedsReload(f"only a reload looks up the name {server.host} of {server.name}")
    moves = not is_name(server.host) and not _same_address(state, server)
    if weight != state.weight and _is_static(pool):
        return NeedsReload(f"{pool.name} hashes into a fixed table, and weights go into it only when it is built")
    lines = []
    if moves:
        # Through maintenance, so that what was known of the old address does not speak for the new one.
        lines += [f"set server {name} state maint", f"set server {name} addr {server.host} port {server.port}"]
    if weight != state.weight:
        lines.append(f"set server {name} weight {weight}")
    if server.admin is not (Admin.MAINT if moves else state.admin):
        lines.append(f"set server {name} state {server.admin.value}")
    what = "addresses" if moves else "weights" if weight != state.weight else "states"
    return Commands(tuple(lines), what)


def _is_static(pool: Pool) -> bool:
    return isinstance(pool.policy, Hash) and not pool.policy.consistent


def _same_address(state: ServerState, server: Server) -> bool:
    try:
        return ip_address(state.host) == ip_address(server.host) and state.port == server.port
    except ValueError:
        return False


def _taken_apart(text: str) -> tuple[tuple[str, ...], dict[Key, _Line]]:
    """A file as its frame (all lines but servers) and its servers."""
    frame: list[str] = []
    servers: dict[Key, _Line] = {}
    section = ""
    for line in text.splitlines():
        if line.startswith(SERVER_INDENT):
            name, address, *words = line.split()[1:]
            servers[section, name] = _Line(address, " ".join(_fixed_words(words)))
            continue
        if line.startswith("backend "):
            section = line.split()[1]
        frame.append(line)
    return tuple(frame), servers


def _questions(text: str) -> dict[Key, tuple[str, ...]]:
    """What each server is asked and where: its address, its `check` and `port` words, and the lines of its pool."""
    asked: dict[str, tuple[str, ...]] = {}
    section = ""
    for line in text.splitlines():
        if line.startswith("backend "):
            section = line.split()[1]
        elif "http-check " in line or "option httpchk" in line:
            asked[section] = (*asked.get(section, ()), line.strip())
    found = {}
    for (pool, name), server in _taken_apart(text)[1].items():
        words = server.fixed.split()
        port = words[words.index("port") + 1] if "port" in words else ""
        found[pool, name] = (server.address, "check" if "check" in words else "", port, *asked.get(pool, ()))
    return found


def _fixed_words(words: list[str]) -> Iterator[str]:
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word == "weight":
            skip = True
        elif word != "disabled":
            yield word


def _first_difference(old: tuple[str, ...], new: tuple[str, ...]) -> str:
    section = ""
    for i in range(max(len(old), len(new))):
        a, b = (lines[i].strip() if i < len(lines) else "" for lines in (old, new))
        if a != b:
            place = f"in {section}, " if section else ""
            if a and b:
                return f"{place}`{a}` became `{b}`"
            return f"{place}`{a}` is gone" if a else f"{place}`{b}` was added"
        if a and not old[i].startswith((" ", "#")):
            section = a
    return "the files differ"
