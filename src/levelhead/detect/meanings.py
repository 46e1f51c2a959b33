"""What each signal says, in words for people; the page of causes says the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from levelhead.detect.base import Kind


@dataclass(frozen=True, slots=True)
class Meaning:
    """A test gathers evidence until it passes the threshold; a fact needs none."""

    text: str
    by: Literal["test", "fact"]


MEANINGS: Final[Mapping[Kind, Meaning]] = {
    Kind.SHARE: Meaning(
        "a server gets more than 1.2 times the share it is meant to get among those that serve now, slow start counted",
        "test",
    ),
    Kind.UNPREDICTED: Meaning("it gets more than 1.2 times what the weights in force explain", "test"),
    Kind.STARVED: Meaning("it gets far less than the weights in force promise it", "test"),
    Kind.ERRORS: Meaning(
        "it fails more than twice as often as its peers do at the same time: answers of 5xx, broken "
        "answers, attempts made again elsewhere",
        "test",
    ),
    Kind.LATENCY: Meaning(
        "it holds more than twice the requests in flight that its traffic explains beside its peers, or "
        "answers late more often than they do",
        "test",
    ),
    Kind.SURGE: Meaning(
        "more than 1.25 times the forecast arrive; the forecast is the last minute's rate, or what was usual at this "
        "time of earlier days, if that is more; no trouble in itself",
        "test",
    ),
    Kind.SLOWDOWN: Meaning(
        "requests stay with the whole pool more than 1.5 times as long as usual; no trouble in itself",
        "test",
    ),
    Kind.RETRIES: Meaning("more than one attempt in ten is a repetition; no trouble in itself", "test"),
    Kind.QUEUE: Meaning("requests wait in the proxy for a place for more than a second; no trouble in itself", "fact"),
    Kind.FULL: Meaning("the listeners are full: whoever else comes waits outside, where no counter sees it", "fact"),
    Kind.CHECK: Meaning("its health check fails", "fact"),
    Kind.DOUBT: Meaning("its check fails, and until then it answered as well and as fast as its peers", "fact"),
    Kind.FLAPPING: Meaning("its check changes its mind again and again", "fact"),
    Kind.CLIENTS: Meaning(
        "a pool that spreads clients has too few of them for it to come out even; no trouble in itself",
        "fact",
    ),
    Kind.PINNED: Meaning(
        "servers that were added hardly get any requests, and those come over connections that are older than these "
        "servers; no trouble in itself",
        "fact",
    ),
    Kind.REFUSED: Meaning(
        "the proxy answered requests itself, because no server or no place in the queue was free",
        "fact",
    ),
    Kind.BURN: Meaning(
        "the error budget of a server or pool is used up many times too fast, over minutes and over an hour",
        "fact",
    ),
    Kind.HARM: Meaning(
        "more than 2% of the last seconds' requests failed or were late (more than ten times the error "
        "budget of `slo.availability`, where that is more), and at least 5 of them",
        "fact",
    ),
}
