"""POSTs notices as JSON to any address: the general webhook, and the sending that others build on."""

from __future__ import annotations

import json
import logging
import re
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache

import httpx

from levelhead.errors import NotifyError
from levelhead.notify.base import Notice

SCHEMA = "levelhead/notice/1"

# Answers that may be better next time; any other refusal stays one.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_GONE = frozenset({401, 403, 404, 410})


@dataclass(frozen=True, slots=True)
class Webhook:
    """POSTs `body(notice)` to `url`; any 2xx is fine, redirects are not followed. Url and headers may be secrets."""

    name: str
    url: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    http: httpx.AsyncClient = field(repr=False)

    async def send(self, notice: Notice) -> None:
        """Sends it; NotifyError says why not, without url or headers."""
        await post(self.http, self.name, self.url, self.headers, body(notice))


def body(notice: Notice) -> bytes:
    """The notice as JSON: `schema`, the fields of `Notice`, `at` in UTC, figures as a list of label and value."""
    fields = {
        "schema": SCHEMA,
        "incident": notice.incident,
        "pool": notice.pool,
        "kind": notice.kind,
        "phase": notice.phase,
        "title": notice.title,
        "text": notice.text,
        "at": datetime.fromtimestamp(notice.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "url": notice.url or None,
        "figures": [{"label": label, "value": value} for label, value in notice.figures],
    }
    return json.dumps(fields).encode()


def client(*, tls: bool, timeout_s: float) -> httpx.AsyncClient:
    """A client for one notice: no redirects, and no connection that stays open when it is done."""
    # httpx logs every url at INFO; a webhook's url is a secret.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return httpx.AsyncClient(
        verify=tls_context() if tls else False,
        follow_redirects=False,
        timeout=timeout_s,
        limits=httpx.Limits(max_keepalive_connections=0),
    )


@cache
def tls_context() -> ssl.SSLContext:
    """The certificates that are trusted; reading them takes tens of milliseconds, so it is done once."""
    return httpx.create_ssl_context()


async def post(
    http: httpx.AsyncClient, name: str, url: str, headers: tuple[tuple[str, str], ...], content: bytes
) -> None:
    """One POST of JSON. NotifyError for anything but 2xx; its text names the host at most."""
    given = {"content-type": "application/json", "user-agent": "levelhead"} | {n.lower(): v for n, v in headers}
    try:
        # Streamed, and closed unread: an endless answer must not be taken in.
        async with http.stream("POST", url, content=content, headers=given) as answer:
            status, retry_after = answer.status_code, answer.headers.get("retry-after", "")
    except httpx.TimeoutException:
        raise NotifyError(f"{name}: no answer from {_host(url)} in time") from None
    except httpx.ConnectError as error:
        raise NotifyError(f"{name}: no connection to {_host(url)}{_because(error)}") from None
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, UnicodeError):
        raise NotifyError(f"{name}: its url or a header is not valid", again=False) from None
    except httpx.HTTPError as error:
        raise NotifyError(f"{name}: {_host(url)} did not answer in HTTP ({type(error).__name__})") from None
    except Exception as error:
        # httpx lets some errors of its lower floors through; a notice must not stop because of that.
        raise NotifyError(f"{name}: it could not be sent ({type(error).__name__})") from None
    if not 200 <= status <= 299:
        wait_s = float(retry_after) if re.fullmatch(r"[0-9]{1,6}", retry_after) else 0.0
        step = "check its url, and that the hook still exists" if status in _GONE else ""
        what = f"{name}: {_host(url)} answered {status}"
        raise NotifyError(what, again=status in _PASSING, wait_s=wait_s, next_step=step)


def _host(url: str) -> str:
    parsed = httpx.URL(url)
    return f"{parsed.host}:{parsed.port}" if parsed.port else parsed.host


def _because(error: httpx.ConnectError) -> str:
    """Why, in the system's words where it gave any; httpx's own text says only that all attempts failed."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f": {cause.verify_message}"
        if isinstance(cause, OSError) and cause.strerror:
            return f": {cause.strerror}"
        cause = cause.__cause__ or cause.__context__
    return ""
