"""Notices: what they look like at each target, and that none is lost, late or indiscreet because of another."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import pty
import random
import ssl
import termios
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from levelhead import notify, settings
from levelhead.errors import ConfigError, NotifyError
from levelhead.notify import Delivery, Notice, Retry, deliver, reveal, slack, terminal, webhook
from levelhead.settings import Secret, Target

T = TypeVar("T")

NOTICE = Notice(
    incident="INC-3",
    pool="web",
    kind="opened",
    phase="investigating",
    title="web-1 gets 61 % of requests, 25 % are intended",
    text="A weight was changed 4 s ago.\nIt fits what is seen.",
    at=1710081123.25,
    url="http://127.0.0.1:8700/incidents/INC-3",
    figures=(("web-1", "61 % of requests"), ("web-2 & 3", "<20 %")),
)
# Short waits, so that tests are quick; the waits themselves are counted, not timed.
QUICK = Retry(attempts=3, first_s=0.01, jitter=0.0, timeout_s=5.0)
# For targets that never answer.
IMPATIENT = replace(QUICK, attempts=2, timeout_s=0.3)


def run(work: Coroutine[None, None, T]) -> T:
    return asyncio.run(work)


@dataclass(slots=True)
class Hook:
    """A web server that answers as told, one answer after another; the last goes on. `requests` are those it read."""

    answers: list[bytes | str]
    url: str = ""
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        answer = self.answers[min(self.connections, len(self.answers)) - 1]
        try:
            head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
            self.requests.append((head, headers, body))
            if answer == "hang":
                await reader.read()
            elif answer == "endless":
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                while True:
                    writer.write(b"x" * 65536)
                    await writer.drain()
            elif isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
        except ConnectionError:
            # The client went away, which is its right.
            return
        finally:
            writer.close()


def answer(status: int, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", "content-length: 2", *headers, "", "ok"]
    return "\r\n".join(lines).encode()


@asynccontextmanager
async def hook(*answers: bytes | str) -> AsyncIterator[Hook]:
    made = Hook(list(answers))
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/T000/s3cr3t"
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()


def target(url: str, kind: str = "webhook", name: str = "ops") -> Target:
    return Target(name, "slack" if kind == "slack" else "webhook", Secret(url))


async def told(*targets: Target, retry: Retry = QUICK) -> tuple[Delivery, ...]:
    return await deliver(targets, NOTICE, retry=retry, environ={}, rng=random.Random(1), clock=lambda: 99.0)


def deliveries(*answers: bytes | str, kind: str = "webhook", retry: Retry = QUICK) -> tuple[Delivery, Hook]:
    async def work() -> tuple[Delivery, Hook]:
        async with hook(*answers) as made:
            (delivery,) = await told(target(made.url, kind), retry=retry)
        return delivery, made

    return run(work())


# What arrives.


def test_webhook_gets_the_whole_notice_as_json() -> None:
    delivery, made = deliveries(answer(204))

    assert delivery == Delivery("ops", 1, True, "", 99.0)
    ((head, headers, body),) = made.requests
    assert head == "POST /T000/s3cr3t HTTP/1.1"
    assert headers["content-type"] == "application/json"
    assert json.loads(body) == {
        "schema": "levelhead/notice/1",
        "incident": "INC-3",
        "pool": "web",
        "kind": "opened",
        "phase": "investigating",
        "title": "web-1 gets 61 % of requests, 25 % are intended",
        "text": "A weight was changed 4 s ago.\nIt fits what is seen.",
        "at": "2024-03-10T14:32:03.250Z",
        "url": "http://127.0.0.1:8700/incidents/INC-3",
        "figures": [{"label": "web-1", "value": "61 % of requests"}, {"label": "web-2 & 3", "value": "<20 %"}],
    }


def test_webhook_sends_the_headers_it_is_given() -> None:
    async def work() -> Hook:
        async with hook(answer(200)) as made:
            headers = (("Authorization", Secret(env="TOKEN")), ("Content-Type", Secret("application/vnd.x+json")))
            wanted = Target("ops", "webhook", Secret(made.url), headers)
            await deliver([wanted], NOTICE, retry=QUICK, environ={"TOKEN": "Bearer abc\n"})
        return made

    ((_, headers, _),) = run(work()).requests
    assert headers["authorization"] == "Bearer abc"
    assert headers["content-type"] == "application/vnd.x+json"


def test_slack_gets_text_and_blocks() -> None:
    delivery, made = deliveries(answer(200), kind="slack")

    assert delivery.ok
    message = json.loads(made.requests[0][2])
    assert message["text"] == (
        "INC-3 opened, web: web-1 gets 61 % of requests, 25 % are intended\n"
        "investigating: A weight was changed 4 s ago.\nIt fits what is seen."
    )
    assert [block["type"] for block in message["blocks"]] == ["header", "section", "section", "context"]
    assert [field["text"] for field in message["blocks"][2]["fields"]] == [
        "web-1: 61 % of requests", "web-2 &amp; 3: &lt;20 %",
    ]  # fmt: skip
    assert message["blocks"][3]["elements"][0]["text"] == "<http://127.0.0.1:8700/incidents/INC-3|INC-3>"


def strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in strings(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in strings(inner)]
    return [value] if isinstance(value, str) else []


@given(st.text("a&<>|*\n", max_size=4000), st.lists(st.tuples(st.text("a&<", max_size=2500), st.text()), max_size=12))
def test_slack_messages_stay_within_bounds_and_escape_what_steers(text: str, figures: list[tuple[str, str]]) -> None:
    notice = replace(NOTICE, title=text, text=text, figures=tuple(figures), url="")

    message = json.loads(slack.body(notice))

    header, section, *more = message["blocks"]
    assert len(header["text"]["text"]) <= 150
    assert len(section["text"]["text"]) <= 3000
    assert all(len(shown["text"]) <= 2000 for block in more for shown in block["fields"])
    assert all(1 <= len(block["fields"]) <= 10 for block in more)
    for shown in strings(message):
        bare = shown.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
        assert not set(bare) & set("&<>")


def test_terminal_prints_calm_lines() -> None:
    assert terminal.printed(NOTICE) == (
        "2024-03-10 14:32:03Z  INC-3 opened, web: web-1 gets 61 % of requests, 25 % are intended\n"
        "    investigating: A weight was changed 4 s ago.\n"
        "    It fits what is seen.\n"
        "    web-1      61 % of requests\n"
        "    web-2 & 3  <20 %\n"
        "    http://127.0.0.1:8700/incidents/INC-3\n"
    )


@given(st.text(), st.text())
def test_terminal_prints_nothing_that_steers_it(title: str, text: str) -> None:
    shown = terminal.printed(replace(NOTICE, title=title, text=text))

    assert all(character == "\n" or character.isprintable() for character in shown)


# What goes wrong.


def test_an_answer_that_is_passing_is_tried_again() -> None:
    delivery, made = deliveries(answer(500), answer(503), answer(200))

    assert delivery == Delivery("ops", 3, True, "", 99.0)
    assert len(made.requests) == 3
    assert len({body for _, _, body in made.requests}) == 1


def test_attempts_are_bounded() -> None:
    delivery, made = deliveries(answer(500))

    host = httpx.URL(made.url).netloc.decode()
    assert delivery == Delivery("ops", 3, False, f"ops: {host} answered 500", 99.0)
    assert len(made.requests) == 3


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 410])
def test_a_refusal_and_a_redirect_are_final(status: int) -> None:
    delivery, made = deliveries(answer(status, "location: http://127.0.0.1:1/elsewhere"))

    assert (delivery.ok, delivery.attempts, made.connections) == (False, 1, 1)
    assert delivery.error.endswith(f"answered {status}")


def test_no_connection_is_tried_again_and_named() -> None:
    async def work() -> tuple[Delivery, ...]:
        async with hook() as gone:
            pass
        return await told(target(gone.url))

    (delivery,) = run(work())
    assert (delivery.ok, delivery.attempts) == (False, 3)
    assert "no connection to 127.0.0.1:" in delivery.error


def test_a_host_that_is_not_there_is_named() -> None:
    (delivery,) = run(told(target("http://nowhere.invalid/s3cr3t")))

    assert delivery.error.startswith("ops: no connection to nowhere.invalid")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("hang", "ops: no answer from 127.0.0.1"),
        ("drop", "did not answer in HTTP"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "did not answer in HTTP"),
        (b"\x00\xff" * 50_000, "did not answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000, "did not answer in HTTP"),
    ],
    ids=["hang", "drop", "ssh", "bytes", "endless-head"],
)
def test_what_is_not_an_answer_is_tried_again_and_named(bad: bytes | str, said: str) -> None:
    delivery, made = deliveries(bad, retry=IMPATIENT)

    assert (delivery.ok, delivery.attempts, made.connections) == (False, 2, 2)
    assert said in delivery.error or "took longer" in delivery.error


def test_an_endless_answer_is_not_taken_in() -> None:
    delivery, _ = deliveries("endless")

    assert (delivery.ok, delivery.attempts) == (True, 1)


def test_a_target_that_asks_to_wait_is_obeyed_within_bounds() -> None:
    at_once, _ = deliveries(answer(429, "retry-after: 0"), answer(200))
    too_long, made = deliveries(answer(429, "retry-after: 3600"), answer(200))
    nonsense, _ = deliveries(answer(503, "retry-after: Wed, 21 Oct 2026 07:28:00 GMT"), answer(200))

    assert (at_once.ok, at_once.attempts) == (True, 2)
    assert (too_long.ok, too_long.attempts, made.connections) == (False, 1, 1)
    assert (nonsense.ok, nonsense.attempts) == (True, 2)


def test_a_slow_target_and_a_dead_one_do_not_delay_the_others() -> None:
    async def work() -> tuple[Delivery, ...]:
        async with hook("hang") as slow, hook() as dead, hook(answer(200)) as fine:
            wanted = [target(slow.url, name="slow"), target(dead.url, name="dead"), target(fine.url, name="fine")]
            stamps = iter(range(1, 10))
            once = replace(QUICK, attempts=1, timeout_s=1.0)
            return await deliver(wanted, NOTICE, retry=once, environ={}, clock=lambda: float(next(stamps)))

    found = {delivery.target: delivery for delivery in run(work())}

    assert list(found) == ["slow", "dead", "fine"]
    assert [delivery.ok for delivery in found.values()] == [False, False, True]
    assert max(found["dead"].at, found["fine"].at) < found["slow"].at


def test_waits_grow_and_are_spread() -> None:
    waits: list[float] = []

    class Loop(asyncio.SelectorEventLoop):
        """Notes what was slept, and lets it pass at once."""

        def call_later(
            self, delay: float, callback: Callable[..., object], *args: object, context: Context | None = None
        ) -> asyncio.TimerHandle:
            waits.append(delay)
            return super().call_later(0, callback, *args, context=context)

    class Refusing:
        name = "refusing"

        async def send(self, notice: Notice) -> None:
            raise NotifyError("refusing: no")

    retry = Retry(attempts=5, first_s=0.5, jitter=0.25, timeout_s=5.0)
    with asyncio.Runner(loop_factory=Loop) as runner:
        delivery = runner.run(notify.send(Refusing(), NOTICE, retry, random.Random(1), lambda: 1.0))

    assert (delivery.ok, delivery.attempts) == (False, 5)
    assert len(waits) == 4
    for wait, middle in zip(waits, (0.5, 1.0, 2.0, 4.0), strict=True):
        assert 0.75 * middle <= wait <= 1.25 * middle
    assert len({wait / middle for wait, middle in zip(waits, (0.5, 1.0, 2.0, 4.0), strict=True)}) == 4


# Discretion.


def test_no_secret_is_in_errors_or_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def work() -> tuple[Delivery, ...]:
        async with hook(answer(200)) as fine, hook(answer(500)) as failing, hook("drop") as dropping:
            headers = (("Authorization", Secret("Bearer t0k3n")),)
            wanted = [Target(name, "webhook", Secret(made.url), headers)
                      for name, made in (("fine", fine), ("failing", failing), ("dropping", dropping))]  # fmt: skip
            odd = [target("http://a b/s3cr3t", name="odd"), target("http://[::1/s3cr3t", name="odder"),
                   target("http://127.0.0.1:99999/s3cr3t", name="oddest"), target("s3cr3t", name="none")]  # fmt: skip
            return await told(*wanted, *odd)

    found = run(work())

    said = "\n".join([str(found), caplog.text, repr(target("http://x/s3cr3t")), repr(Secret("s3cr3t"))])
    assert [delivery.ok for delivery in found] == [True] + [False] * 6
    assert "s3cr3t" not in said
    assert "t0k3n" not in said


def test_notifiers_do_not_show_their_secrets() -> None:
    http = httpx.AsyncClient(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    made = notify.notifier(target("http://x/s3cr3t"), reveal(target("http://x/s3cr3t"), {}), io.StringIO(), http)
    run(http.aclose())

    assert "s3cr3t" not in repr(made)


def test_secrets_come_from_where_they_are_kept(tmp_path: Path) -> None:
    (tmp_path / "hook").write_text("https://hooks.example/T0/abc\n")
    wanted = Target("ops", "webhook", Secret(file=str(tmp_path / "hook")), (("X-Token", Secret(env="TOKEN")),))

    found = reveal(wanted, {"TOKEN": "abc"})

    assert (found.url, found.headers) == ("https://hooks.example/T0/abc", (("X-Token", "abc"),))


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        (Secret(env="SLACK_URL"), "the environment variable SLACK_URL is not set or is empty"),
        (Secret(env="BLANK"), "the environment variable BLANK is not set or is empty"),
        (Secret(env="TWO"), "the environment variable TWO holds more than one line of text"),
        (Secret(env="NO_URL"), "its url is not one that begins with http:// or https:// and names a host"),
        (Secret(file="/nowhere/hook"), "the file /nowhere/hook cannot be read: No such file or directory"),
        (Secret(file="/"), "the file / cannot be read: Is a directory"),
    ],
)
def test_a_secret_that_is_not_there_is_named_before_an_incident(secret: Secret, said: str) -> None:
    (wanted,) = settings.parse("servers: [127.0.0.1:1]\nnotify:\n  - slack: {url_env: X}\n", "f.yaml").notify
    wanted = replace(wanted, url=secret)
    environ = {"BLANK": " ", "TWO": "a\nb", "NO_URL": "s3cr3t"}

    with pytest.raises(ConfigError, match="next: ") as caught:
        reveal(wanted, environ)
    (delivery,) = run(deliver([wanted], NOTICE, environ=environ, clock=lambda: 1.0))

    assert str(caught.value).startswith(f"f.yaml:3:5: notify: slack: {said}")
    assert "s3cr3t" not in str(caught.value)
    assert delivery == Delivery("slack", 0, False, f"notify: slack: {said}", 1.0)


# Terminals.


def test_a_terminal_is_a_target_like_any_other() -> None:
    stream = io.StringIO()

    (delivery,) = run(deliver([Target("terminal", "terminal")], NOTICE, stream=stream, clock=lambda: 1.0))

    assert delivery == Delivery("terminal", 1, True, "", 1.0)
    assert stream.getvalue() == terminal.printed(NOTICE)


def test_a_stream_that_knows_few_letters_gets_what_it_can_print(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as stream:
        run(terminal.Terminal("terminal", stream).send(replace(NOTICE, title="café")))

    assert "caf?" in (tmp_path / "out").read_text()


def test_a_stream_that_is_closed_is_given_up(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as stream:
        pass

    with pytest.raises(NotifyError, match="it cannot be written to: I/O operation on closed file") as caught:
        run(terminal.Terminal("terminal", stream).send(NOTICE))

    assert not caught.value.again


def test_a_pipe_whose_reader_left_is_given_up() -> None:
    class Broken(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError(32, "Broken pipe")

    (delivery,) = run(deliver([Target("terminal", "terminal")], NOTICE, stream=Broken(), retry=QUICK))

    assert (delivery.ok, delivery.attempts) == (False, 1)
    assert "Broken pipe" in delivery.error


def test_a_terminal_that_was_stopped_stops_nothing() -> None:
    controller, descriptor = pty.openpty()
    with os.fdopen(descriptor, "w") as stream:
        termios.tcflow(descriptor, termios.TCOOFF)
        (stopped,) = run(deliver([Target("terminal", "terminal")], NOTICE, stream=stream, retry=QUICK))
        termios.tcflow(descriptor, termios.TCOON)
        (going,) = run(deliver([Target("terminal", "terminal")], NOTICE, stream=stream, retry=QUICK))
    os.close(controller)

    assert (stopped.ok, stopped.attempts, going.ok, going.attempts) == (False, 3, True, 1)


def test_a_pipe_nobody_reads_stops_nothing() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        once = replace(QUICK, attempts=1)
        results = [
            run(deliver([Target("terminal", "terminal")], NOTICE, stream=stream, retry=once))[0].ok for _ in range(300)
        ]
        os.close(reading)

    assert results[0] is True
    assert results[-1] is False


def test_a_long_notice_is_cut_to_what_can_be_written_at_once() -> None:
    stream = io.StringIO()

    run(terminal.Terminal("terminal", stream).send(replace(NOTICE, text="é" * 10_000)))

    assert len(stream.getvalue().encode()) <= 4096
    assert stream.getvalue().endswith(" ...\n")


def test_bodies_are_json_whatever_they_hold() -> None:
    notice = replace(NOTICE, text="\ud800\0", title='"\\')

    assert json.loads(webhook.body(notice))["title"] == '"\\'
    assert json.loads(slack.body(notice))["text"]
