"""Numbers, times, sizes and addresses, read as HAProxy reads them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

LONGEST_MS: Final = 2**31 - 1
_UNIT_MS: Final = {"us": 0.001, "": 1, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_TIME: Final = re.compile(r"(\d*)(us|ms|s|m|h|d)?")
_SIZE: Final = re.compile(r"(\d+)([kKmMgG]?)")
_LEADING: Final = re.compile(r"[ \t\n\v\f\r]*([+-]?\d+)")
_WHOLE: Final = re.compile(r"[+-]?\d{1,18}")
_BRACED: Final = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")
_MOST: Final = 10**18  # no number of a configuration is larger; longer digits must not cost time

Family = Literal["ip4", "ip6", "name", "unix", "abns", "descriptor", "other", "any", "unknown"]


@dataclass(frozen=True, slots=True)
class Bad:
    """A value that HAProxy refuses, and the end of a sentence that says why."""

    why: str


@dataclass(frozen=True, slots=True)
class Address:
    """An address as written and what it means.

    `host` is an IP in its shortest form, a host name, a path, a file descriptor, or empty for any address of this
    machine. `port` None means that none is written; `offset` that it is added to the port the client connected to.
    `last_port` ends a range. `family` is "unknown" while a variable in it is.
    """

    text: str
    family: Family
    host: str
    port: int | None = None
    offset: bool = False
    last_port: int | None = None
    datagram: bool = False
    quic: bool = False


def integer(text: str) -> int | Bad:
    """A whole number that is nothing else."""
    return int(text) if _WHOLE.fullmatch(text) else Bad(f"{shown(text)} is not a whole number")


def leading_integer(text: str) -> int:
    """What C's atol makes of it: the digits that it begins with, else 0."""
    match = _LEADING.match(text)
    if not match:
        return 0
    return int(match[1]) if len(match[1]) < 19 else _MOST


def duration_s(text: str, unit: str = "ms") -> float | Bad:
    """A time such as `5s`; a bare number is in `unit`. HAProxy rounds up to milliseconds and stops at 24.8 days."""
    match = _TIME.fullmatch(text)
    if not match:
        wrong = text[len((re.match(r"\d*", text) or [""])[0]) :][:1]
        return Bad(f"unexpected character {wrong!r} in {shown(text)}; write a number and us, ms, s, m, h or d")
    if not match[1]:
        return Bad(f"{shown(text)} has no number")
    if len(match[1]) > 15:
        return Bad(f"{shown(text)} is longer than 24.8 days, the most that HAProxy takes")
    exact = int(match[1]) * _UNIT_MS[match[2] if match[2] is not None else unit]
    whole = -int(-exact // 1)
    if whole > LONGEST_MS:
        return Bad(f"{shown(text)} is longer than 24.8 days, the most that HAProxy takes")
    return whole / 1000


def size(text: str) -> int | Bad:
    """A number of bytes or entries, with k, m or g."""
    match = _SIZE.fullmatch(text)
    if not match or len(match[1]) > 18:
        return Bad(f"{shown(text)} is not a size; write a number and k, m or g")
    return int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[match[2].lower()]


def address(text: str, variables: Mapping[str, str] | None = None) -> Address | Bad:
    """An address with its prefixes, IPv6 with or without brackets, port, range or offset.

    HAProxy expands variables here even outside quotes. Host names are not looked up.
    """
    known = variables or {}
    meant = _BRACED.sub(lambda m: known.get(m[1] or m[2], m[0]), text) if "$" in text else text
    if "$" in meant:
        return Address(text, "unknown", meant)
    rest, family, datagram, quic = _prefix(meant)
    if family == "descriptor":
        return (
            Address(text, family, rest)
            if rest.isascii() and rest.isdigit()
            else Bad(f"{shown(rest)} is no file descriptor")
        )
    if family in ("unix", "abns", "other"):
        if family != "other" and len(rest) > 107:
            return Bad(f"the socket path {shown(rest)} is too long")
        return Address(text, family, rest, datagram=datagram)
    return _host_and_port(text, rest, family, datagram, quic)


_PREFIXES: Final[tuple[tuple[str, Family | Literal[""]], ...]] = (
    ("ipv4@", "ip4"), ("ipv6@", "ip6"), ("udp4@", "ip4"), ("udp6@", "ip6"), ("tcp4@", "ip4"), ("tcp6@", "ip6"),
    ("mptcp4@", "ip4"), ("mptcp6@", "ip6"), ("mptcp@", ""), ("quic4@", "ip4"), ("quic6@", "ip6"), ("udp@", ""),
    ("tcp@", ""), ("unix@", "unix"), ("uxdg@", "unix"), ("uxst@", "unix"), ("abns@", "abns"), ("abnsz@", "abns"),
    ("fd@", "descriptor"), ("sockpair@", "descriptor"), ("rhttp@", "other"), ("rev@", "other"), ("ring@", "other"),
    ("backend@", "other"),
)  # fmt: skip


def _prefix(text: str) -> tuple[str, Family | Literal[""], bool, bool]:
    """The text without `stream+` and the like; its family if a prefix says so; datagram; QUIC."""
    datagram = quic = False
    for kind in ("stream+", "dgram+", "quic+"):
        if text.startswith(kind):
            datagram, text = kind == "dgram+", text[len(kind) :]
            break
    for prefix, family in _PREFIXES:
        if text.startswith(prefix):
            return (
                text[len(prefix) :],
                family,
                datagram or (prefix[:2] in ("ud", "ux") and prefix != "uxst@"),
                "quic" in prefix,
            )
    return text, "unix" if text.startswith("/") else "", datagram, quic


def _host_and_port(text: str, rest: str, family: Family | Literal[""], datagram: bool, quic: bool) -> Address | Bad:
    colon, bracket = rest.rfind(":"), rest.rfind("]")
    host, written = (rest[:colon], rest[colon + 1 :]) if colon > bracket else (rest, "")
    found = _ports(written, text)
    if isinstance(found, Bad):
        return found
    port, last, offset = found
    kind, plain = _host(host, family)
    if kind == "other":
        return Bad(f"{shown(host)} is no address")
    return Address(text, kind, plain, port, offset, last, datagram, quic)


def _ports(written: str, text: str) -> tuple[int | None, int | None, bool] | Bad:
    if not written:
        return None, None, False
    if written[0] in "+-":
        number = integer(written[1:])
        if isinstance(number, Bad) or not written[1:].isdigit():
            return Bad(f"{shown(written)} is no port offset in {shown(text)}")
        return (number if written[0] == "+" else -number), None, True
    first, dash, last = written.partition("-")
    ends = [integer(first), integer(last) if dash else integer(first)]
    if any(isinstance(e, Bad) for e in ends) or not (first + last).isdigit():
        return Bad(f"invalid port {shown(written)} in {shown(text)}")
    low, high = (e for e in ends if isinstance(e, int))
    if low > 65535 or high > 65535:
        return Bad(f"invalid port {shown(written)}: ports go to 65535")
    if low > high:
        return Bad(f"invalid port range {shown(written)}")
    return low, high if dash else None, False


def _host(host: str, family: Family | Literal[""]) -> tuple[Family, str]:
    """Kind and shortest form; "other" if it cannot be an address of this family."""
    plain = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if plain in ("", "*"):
        return "any", "::" if family == "ip6" else ""
    try:
        ip = ipaddress.ip_address(plain)
    except ValueError:
        if ":" in plain or (host.startswith("[") and host.endswith("]")):
            return "other", plain
        return "name", plain
    kind: Family = "ip4" if ip.version == 4 else "ip6"
    if family in ("ip4", "ip6") and family != kind:
        return "other", plain
    return kind, _shortest(ip)


def _shortest(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return f"::ffff:{ip.ipv4_mapped}"
    return str(ip)


def shown(text: str) -> str:
    """A value in quotes, cut to a readable length."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
