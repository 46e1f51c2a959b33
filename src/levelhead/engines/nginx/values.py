"""nginx's ways to write times, sizes, numbers, percentages and addresses, as plain values; None for what is none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from typing import Final, Literal

_UNITS: Final = {"y": 31_536_000, "M": 2_592_000, "w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
# Each unit at most once, from the greatest down, blanks between; a bare number, at the end only, is of seconds. A unit
# without a number counts for nothing, as long as there is one somewhere.
_TIME: Final = re.compile(
    "".join(rf"(?:(?P<{u}>\d*){u}{'(?!s)' if u == 'm' else ''} *)?" for u in _UNITS) + r"(?P<bare>\d+)?", re.ASCII
)
_LONGEST_S: Final = 2**31 - 1
_SIZE: Final = re.compile(r"(\d{1,15})([kKmM]?)")
_PERCENT: Final = re.compile(r"(\d{1,8})(?:\.(\d{1,2}))?%")
_IPV4: Final = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})")
# Underscores are no letters of host names, but of the names that containers and hosts files have.
_NAME: Final = re.compile(r"[A-Za-z0-9._-]+|\*")
_PORT: Final = re.compile(r"0*[0-9]{1,5}")


def time_s(text: str, *, fine: bool = True) -> float | None:
    """Seconds of "90", "1h 30m" or "1s500ms"; `fine` False where milliseconds are not allowed."""
    found = _TIME.fullmatch(text)
    if found is None or not any(found.groupdict().values()) or text.startswith(" "):
        return None
    written = {unit: int(number) for unit, number in found.groupdict().items() if number}
    if "ms" in written and not fine:
        return None
    total = sum(number * (1 if unit == "bare" else _UNITS[unit]) for unit, number in written.items())
    return float(total) if total <= _LONGEST_S else None


def number(text: str) -> int | None:
    """A count: digits only, as nginx reads them."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def size(text: str) -> int | None:
    """Bytes of "64k" or "1m"."""
    found = _SIZE.fullmatch(text)
    if found is None or not text.isascii():
        return None
    return int(found[1]) * {"": 1, "k": 1024, "m": 1024 * 1024}[found[2].lower()]


def percent(text: str) -> float | None:
    """The share of "12.5%", as 0.125; at most two digits after the point, as in split_clients."""
    found = _PERCENT.fullmatch(text)
    if found is None or not text.isascii():
        return None
    return (int(found[1]) * 100 + int((found[2] or "0").ljust(2, "0"))) / 10_000


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is: `host` is an IP address, a name, or the path of a socket; `port` None where none was given."""

    kind: Literal["ip", "name", "unix"]
    host: str
    port: int | None

    def __str__(self) -> str:
        if self.kind == "unix":
            return f"unix:{self.host}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


def address(text: str, default_port: int | None) -> Address | None:
    """The address of `host`, `host:port`, `[::1]:port` or `unix:/path`."""
    if text[:5].lower() == "unix:":
        # What follows a second colon is a URI, as in proxy_pass.
        path = text[5:].partition(":")[0]
        return Address("unix", path, None) if path else None
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        port = _port(rest.removeprefix(":")) if rest.startswith(":") else default_port
        if not closed or not _is_ipv6(host) or (rest and (not rest.startswith(":") or port is None)):
            return None
        return Address("ip", host, port)
    host, colon, rest = text.partition(":")
    port = _port(rest) if colon else default_port
    if not _NAME.fullmatch(host) or (colon and port is None):
        return None
    return Address("ip" if is_ipv4(host) else "name", host, port)


def is_ipv4(text: str) -> bool:
    """Whether this is four numbers up to 255."""
    found = _IPV4.fullmatch(text)
    return found is not None and text.isascii() and all(int(part) < 256 for part in found.groups())


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return "%" not in text


def _port(text: str) -> int | None:
    if len(text) > 100 or not _PORT.fullmatch(text):
        return None
    return port if 0 < (port := int(text)) < 65_536 else None
