"""Where the secrets of a target are: in the settings, in the environment, or in a file of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from levelhead.errors import ConfigError
from levelhead.notify.base import Held, Revealed, Target

_LONGEST = 64 * 1024


def reveal(target: Target, environ: Mapping[str, str]) -> Revealed:
    """A target's url and headers, read from where they are kept. ConfigError names what is missing, never a value."""
    if target.kind == "terminal":
        return Revealed()
    url = _value(target.url, target, environ)
    if not _is_url(url):
        raise _error(target, "its url is not one that begins with http:// or https:// and names a host", target.url)
    return Revealed(url, tuple((name, _value(held, target, environ)) for name, held in target.headers))


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and " " not in text
    except ValueError:
        # Brackets that are no IPv6, a port that is no number or too high.
        return False


def _value(held: Held, target: Target, environ: Mapping[str, str]) -> str:
    if held.value:
        return held.value
    found = environ.get(held.env, "") if held.env else _read(held, target)
    if not found.strip():
        raise _error(target, f"{_kept(held)} is not set or is empty", held)
    if not found.strip().isprintable():
        raise _error(target, f"{_kept(held)} holds more than one line of text", held)
    return found.strip()


def _read(held: Held, target: Target) -> str:
    try:
        with Path(held.file).open(encoding="utf-8") as file:
            return file.read(_LONGEST)
    except OSError as error:
        raise _error(target, f"{_kept(held)} cannot be read: {error.strerror}", held) from None
    except UnicodeDecodeError:
        raise _error(target, f"{_kept(held)} is not UTF-8 text", held) from None


def _kept(held: Held) -> str:
    return f"the environment variable {held.env}" if held.env else f"the file {held.file}"


def _error(target: Target, what: str, held: Held) -> ConfigError:
    where = target.origin
    step = "write the whole url of the hook" if held.value else f"put the value into {_kept(held)}"
    return ConfigError(
        f"notify: {target.name}: {what}", file=where.file or "(command line)", line=where.line, column=where.column,
        next_step=step,
    )  # fmt: skip
