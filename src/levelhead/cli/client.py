"""The client of the API: typed answers over a Unix socket, and every way in which it can fail as an error in words."""

from __future__ import annotations

import http.client
import os
import socket
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from levelhead.errors import (
    ConfigError,
    EngineError,
    LevelheadError,
    RefusedForSafety,
    UnreachableError,
    UsageError,
)
from levelhead.web.answers import ErrorAnswer, OrderAnswer

T = TypeVar("T")

# An order waits for the proxy, a reload may take a while.
ORDER_S: Final = 40.0
LOOK_S: Final = 5.0
_AGAIN: Final = "levelhead status; if it fails too, look at what `levelhead run` prints"


class Client:
    """Talks to the plane behind one socket; each call is a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, path: str, kind: type[T]) -> T:
        """An answer of this kind; LevelheadError in the words of the plane."""
        return _typed(self._ask("GET", path, None), kind)

    def text(self, path: str) -> str:
        """An answer that is text."""
        return self._ask("GET", path, None).decode()

    def order(self, path: str, order: BaseModel) -> OrderAnswer:
        """What became of an order that was accepted; RefusedForSafety with the objections otherwise."""
        return _typed(self._ask("POST", path, order.model_dump_json().encode()), OrderAnswer)

    def _ask(self, method: str, path: str, body: bytes | None) -> bytes:
        connection = _UnixConnection(self._path, LOOK_S if body is None else ORDER_S)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body is not None else {})
            response = connection.getresponse()
            content = response.read()
        except TimeoutError:
            what = f"the control plane did not answer in time ({self._path})"
            raise UnreachableError(what, next_step=_AGAIN) from None
        except (OSError, http.client.HTTPException) as error:
            what = f"the control plane cannot be reached on {self._path}: {getattr(error, 'strerror', None) or error}"
            raise UnreachableError(what, next_step=_AGAIN) from None
        finally:
            connection.close()
        if response.status >= 400:
            raise _error(response.status, content)
        return content


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))


def _typed(content: bytes, kind: type[T]) -> T:
    try:
        return TypeAdapter(kind).validate_json(content)
    except ValidationError as error:
        what = f"the control plane answered in a form that this levelhead does not know ({error.error_count()} faults)"
        raise UnreachableError(what, next_step="use the levelhead that runs it: levelhead --version") from None


def _error(status: int, content: bytes) -> LevelheadError:
    if status == 409:
        told = _typed(content, OrderAnswer)
        return RefusedForSafety(told.text, objections=told.objections, next_step="levelhead status")
    answer = _typed(content, ErrorAnswer)
    if answer.file:
        return ConfigError(
            answer.error, file=answer.file, line=answer.line, column=answer.column, next_step=answer.next
        )
    if status < 500:
        return UsageError(answer.error, next_step=answer.next)
    return EngineError(answer.error, next_step=answer.next or _AGAIN)
