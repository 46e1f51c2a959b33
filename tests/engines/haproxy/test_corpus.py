"""Real HAProxy configuration: what HAProxy accepts is read without an error, and nothing is lost or takes long."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from levelhead.engines.haproxy import syntax
from levelhead.engines.haproxy.picture import Reading
from levelhead.engines.haproxy.preprocess import Setup
from levelhead.engines.haproxy.reading import read
from levelhead.errors import ConfigError
from tests.engines.haproxy.samples import files, needs_corpus, problems_of, samples

# Lines that the other parser calls valid and HAProxy 2.6 and 2.8 refuse; see tests/live for their word on it.
REFUSED_BY_HAPROXY = {
    "server addr ::1", "default-server addr ::1",
    "server name 127.0.0.1 fastinter unknown", "default-server fastinter unknown",
    "server name 127.0.0.1 on-marked-up shutdown-backup-session",
    "default-server on-marked-up shutdown-backup-session",
}  # fmt: skip
SLOWEST_S = 5.0


def test_the_fuzzer_needs_texts() -> None:
    assert spoiled("global\n  maxconn 5\n", random.Random(1)) != spoiled("global\n  maxconn 5\n", random.Random(2))


@needs_corpus
def test_what_haproxy_accepts_has_no_error() -> None:
    columns = {(2, 6): "engine_check", (2, 8): "engine_check_haproxy_2_8"}
    verdicts: Counter[str] = Counter()
    wrong = []
    for row, text in files():
        for version in (None, *columns):
            asked = [columns[version]] if version else list(columns.values())
            accepted = any(row[column] in ("ok", "ok-warn") for column in asked)
            reading = read({row["file"]: text}, Setup(version=version))
            said = "errors" if reading.errors else "no error"
            verdicts[f"{version}: {'accepted' if accepted else 'not accepted'}, {said}"] += 1
            wrong += [str(p) for p in reading.errors if accepted]
    print(f"\n{dict(verdicts)}")

    assert wrong == []
    assert verdicts["None: accepted, no error"] >= 200


@needs_corpus
def test_every_file_is_rendered_byte_for_byte() -> None:
    for row, text in files():
        assert syntax.render(syntax.parse(text)) == text, row["file"]


@needs_corpus
def test_lines_that_are_valid_are_accepted_and_those_that_are_not_are_reported() -> None:
    counts: Counter[str] = Counter()
    refused, missed = set(), []
    for sample in samples():
        text = f" {sample.line}\n"
        assert syntax.render(syntax.parse(text)) == text
        found = problems_of(sample)
        errors = [[p for p in part if p.kind == "error"] for part in found.values()]
        if sample.valid:
            fits = bool(found) and not all(errors)
            counts["valid, accepted" if fits else "valid, refused"] += 1
            if not fits:
                refused.add(sample.line)
        else:
            reported = all(found.values())
            counts["invalid, reported" if reported else "invalid, missed"] += 1
            counts["invalid, reported as errors"] += all(errors)
            if not reported:
                missed.append(sample.line)
    print(f"\n{dict(counts)}; missed: {missed}")

    assert refused == REFUSED_BY_HAPROXY
    assert counts["invalid, reported"] >= 0.95 * (counts["invalid, reported"] + counts["invalid, missed"])


def spoiled(text: str, chance: random.Random) -> str:
    """A truncation, a flipped byte, a doubled or a lost piece."""
    data = bytearray(text.encode("utf-8", "surrogateescape"))
    if not data:
        return text
    at = chance.randrange(len(data))
    match chance.randrange(4):
        case 0:
            del data[at:]
        case 1:
            data[at] ^= 1 << chance.randrange(8)
        case 2:
            data[at:at] = data[at : at + chance.randrange(1, 40)]
        case _:
            del data[at : at + chance.randrange(1, 40)]
    return data.decode("utf-8", "surrogateescape")


def survives(text: str, setup: Setup) -> None:
    """Reading gives a picture that renders to the same text, or the one error that says it is no text; and soon."""
    start = time.process_time()
    try:
        reading = read({"x": text}, setup)
    except ConfigError as error:
        said = str(error)
        if "\0" not in text or error.line < 1:
            raise AssertionError(said) from error
        return
    assert time.process_time() - start < SLOWEST_S
    assert "".join(syntax.render(tree) for tree in reading.trees) == text
    assert_places(reading, text)


def assert_places(reading: Reading, text: str) -> None:
    lines = text.split("\n")
    for tree in reading.trees:
        for line in tree.lines:
            for word in line.words:
                at = word.origin.column - 1
                assert lines[word.origin.line - 1][at : at + len(word.raw)] == word.raw
    for problem in reading.problems:
        assert problem.sentence
        assert 0 < problem.origin.line <= len(lines)


@needs_corpus
def test_spoiled_files_do_not_break_the_reader() -> None:
    chance = random.Random(11)
    texts = [text for _, text in files()]
    for number in range(400):
        text = spoiled(chance.choice(texts), chance)
        survives(text, Setup(version=(2, 6) if number % 2 else None))


PIECES = st.sampled_from([
    "global\n", "defaults\n", "defaults d from d\n", "frontend f\n", "backend b\n", "listen b from d\n", "peers p\n",
    "ring r\n",
    " server", " server-template", " bind", " default-server", " option", " http-request", " acl", " if", " { ",
    " } ", "\n", "\n",
    " 127.0.0.1:80", " weight", " 1", " -", " %[", "]", " (", ")", ",", '"', "'",
    "\\", "$", "${", "}", "#", "\t", "\r", " ", "\x0c",
    ".if ", ".elif", ".else\n", ".endif\n", "!", "&&", "||", "defined(", " timeout", " server 5s", " stick-table",
    " type", " size",
    " balance", " uri", " hash-type", " log", " stats socket", " track b/a", " id", " cookie", " use_backend",
    " from", " no", " é",
    " http-check", " expect", " string", " redirect", " filter", " source", " tcp-request", " content", "9" * 30,
    " 1-99999999",
])  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=60).map("".join) | st.text(max_size=200))
def test_any_text_is_read(text: str) -> None:
    survives(text, Setup())


@pytest.mark.parametrize("text", [
    "nonsense of no use\n" * 3000,
    "backend b\n" + " server a 127.0.0.1\n" * 3000,
    "backend b\n" + "".join(f" server a{n} 127.0.0.1 track a{n + 1}\n" for n in range(1500)),
    "global\n" + " maxconn 5\n" * 5000,
    ".if (" + "(" * 5000 + "\n",
    ".if " + "!(" * 5000 + "\n",
    "backend b\n server-template a 1-99999999999 127.0.0.1\n" * 3,
    "frontend f\n http-request deny if " + "a " * 60 + "\n",
    "defaults\n" + "".join(f"backend b{n}\n timeout server 1s\n" for n in range(2000)),
    "backend b\n description " + '"' * 20001 + "\n",
    "x" * 200_000, "\\x41" * 30_000, "9" * 100_000 + "\n",
    "backend b\n timeout server {n}s\n server a 127.0.0.1:{n} weight {n}\n".replace("{n}", "9" * 10_000),
])  # fmt: skip
def test_long_and_deep_texts_do_not_take_long(text: str) -> None:
    survives(text, Setup())
