"""What a person is asked where the balancer cannot help by itself: the question already worded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from levelhead.diagnose.base import NONE_OF_THESE, Story

# By cause; {who} are the servers accused, or "a server".
QUESTIONS: Final[Mapping[str, str]] = {
    "traffic-surge": "can servers be added, or can the campaign or the caller slow down?",
    "server-down": "is {who} meant to be down? Start it, or take it out of the configuration",
    "dependency-failure": "what do all servers of this pool depend on, and does it work? Databases and caches first",
    "bad-deploy": "was something deployed to {who} just now? Roll that deploy back: the balancer cannot",
    "duplicate-server-entry": "is {who} written twice? Remove one of its entries",
    "fast-fail-black-hole": "why does {who} fail at once? Look at its log, and keep it out until it answers well",
    "hash-hot-key": "which key is hot? Cache its answer, or give it a server of its own",
    "nat-source-hash-collapse": "do many users come through one address? Hash on a cookie or a header instead",
    "sticky-session-skew": "may sessions end? New servers fill only with new sessions",
    "keepalive-pinning-after-scale-out": "may long connections be closed once? They pin traffic to old servers",
    "restart-flood": "can restarts go one by one, with a longer slow start?",
    "stale-backend-slots": "does the list of servers still say what runs? {who} does not answer for this service",
    "runtime-drain-lost-on-reload": "was {who} drained by hand before the reload? Write it into the configuration",
    "forgotten-drain": "is {who} still meant to be out?",
    "pool-emptied-by-admin-state": "who took the servers out, and may they come back?",
    "shallow-check": "what does the check of {who} look at? It passes while requests fail",
    "deep-check-ejects-all": "what does the check ask for besides the server itself? It fails everywhere at once",
    "overload-ejection-cascade": "can servers be added? Each one taken out for slowness overloads the others",
    "poison-request-ejects-all": "which request do all servers fail on? Block it at the front",
    "check-flapping": "can the check be given more time? It passes and fails in turn while requests succeed",
    "check-protocol-mismatch": "does the check speak the servers' protocol, on the right port, with the right host?",
    "lb-maxconn-too-low": "how many connections can the balancer's machine bear? Its limit is reached",
    "server-maxconn-too-low": "how many requests at a time can a server bear? Its limit is reached while it is well",
    "no-failure-headroom": "can servers be added? The rest cannot bear the traffic of the one that is missing",
    "retry-amplification": "do clients retry as well? Their retries should back off",
    "slow-server-gray-failure": "what is slow on {who}? Disk, memory, neighbours; keep it out until it is well",
    "gray-failure-zone": "what do {who} share? They are in one zone: may it be drained as a whole?",
    "weight-typo-skew": "are these weights meant? If not: levelhead rollback",
    NONE_OF_THESE: "no known cause explains this: what changed outside the balancer?",
}  # fmt: skip


def question(story: Story) -> str:
    """What to ask a person about this story; every story has a question."""
    text = QUESTIONS.get(story.cause, QUESTIONS[NONE_OF_THESE])
    return text.format(who=", ".join(story.servers) or "a server")
