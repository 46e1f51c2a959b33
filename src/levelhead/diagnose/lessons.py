"""What to do for good after each cause: measures for everybody, and tasks for the pool and the servers of the case.

Tasks name `{servers}` and `{pool}`; the causes that the postmortem words by itself are not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Lesson:
    """Two to four measures, each "Name: what and why", and the tasks that follow here."""

    measures: tuple[str, ...]
    tasks: tuple[str, ...]


_HEADROOM = "Room for a loss: keep enough servers that the pool bears its peak with the largest loss there can be."
_LOCAL = "Local checks: let each check answer for its own server alone, never for what all servers share."
_STEP = "One first: try every change on one server, and look at it before the next."

LESSONS: Final[dict[str, Lesson]] = {
    "bad-deploy": Lesson(
        (_STEP, "Automatic return: let a release that fails more than the one before go back by itself."),
        ("Return {servers} of pool {pool} to the release before, and find out what the new one does there.",
         "Add a step to the release of pool {pool} that compares the first server with the others."),
    ),
    "check-flapping": Lesson(
        ("Hysteresis: let several checks in a row decide, and more of them on the way back.",
         "Distance: keep a check's timeout well above the time it usually takes."),
        ("Measure how long the check of {servers} in pool {pool} takes, and set its timeout by that.",
         "Set `fall: 3` and `rise: 2` or more in pool {pool}."),
    ),
    "check-protocol-mismatch": Lesson(
        ("One transport: check over the protocol, port and host that traffic uses.", _STEP),
        ("Compare by hand what the check asks of {servers} with what users ask of pool {pool}.",
         "Correct the check of pool {pool}, and ship it to one server first."),
    ),
    "deep-check-ejects-all": Lesson(
        (_LOCAL, "A floor: below a part of healthy servers checks are not believed."),
        ("Take what is shared out of the check of {servers} in pool {pool}.",
         "Decide how many servers of pool {pool} checks may take out at once."),
    ),
    "dependency-failure": Lesson(
        ("Fallbacks: decide for each dependency what users get while it is gone.",
         "Timeouts: bound every call to a dependency well below the user's patience.", _LOCAL),
        ("Find what {servers} of pool {pool} have in common and what it did at that time.",
         "Add the health of that dependency to what is watched beside pool {pool}."),
    ),
    "duplicate-server-entry": Lesson(
        ("Review: let `levelhead review` see every configuration before it ships; it names entries with one address.",
         "Identity: tell servers apart by address and port, not by name."),
        ("Strike out one of the entries {servers} in pool {pool}.",
         "Find out how pool {pool} came to have the address twice."),
    ),
    "fast-fail-black-hole": Lesson(
        ("Passive ejection: take out a server that fails ten times in a row, with a cap.",
         "Slow errors: let an error take as long as an answer, so that failing looks like no virtue."),
        ("Repair {servers}, and see that it fails its check while it cannot serve.",
         "Set `ejection` in pool {pool}."),
    ),
    "forgotten-drain": Lesson(
        ("Leases: let every drain expire unless somebody renews it.", _HEADROOM),
        ("Put {servers} of pool {pool} back, or strike them out.",
         "Find the job that took them out of pool {pool}, and let it end by putting them back."),
    ),
    "gray-failure-zone": Lesson(
        ("A lever for a zone: one command that drains it, practised.", _HEADROOM),
        ("Compare losses on the link to {servers} with those to the others.",
         "Practise draining a zone of pool {pool}."),
    ),
    "hash-hot-key": Lesson(
        ("Bounded load: cap what one server may hold above the mean.",
         "Caches: keep the hottest objects in front of the pool."),
        ("Find the key that went to {servers}, and who asked for it.",
         "Set `bounded_load: 1.25` on the hash of pool {pool}."),
    ),
    "keepalive-pinning-after-scale-out": Lesson(
        ("Age: give connections a longest life, with jitter.",
         "Requests, not connections: balance where requests can be told apart."),
        ("Set a longest age for connections of pool {pool}.",
         "Look at the shares of {servers} again after the next scale-out."),
    ),
    "lb-maxconn-too-low": Lesson(
        ("Sizing: peak rate times slow answers times two, for every limit of the balancer.",
         "An alarm at 70 per cent of each limit."),
        ("Raise the limit of connections in front of pool {pool} by that rule.",
         "Write down what {servers} can bear, so that the limit protects and does not hinder."),
    ),
    "nat-source-hash-collapse": Lesson(
        ("Real addresses: let the outer proxy say who the user is, and believe only it.",
         "Keys: hash what tells users apart, a cookie or a header."),
        ("Change what pool {pool} hashes to something of which there are many.",
         "Count the addresses that {servers} saw, before and after."),
    ),
    "no-failure-headroom": Lesson(
        (_HEADROOM, "Declared capacity: with it, what is left after a loss can be computed before it happens."),
        ("Declare `capacity` for the servers of pool {pool}, and add what is missing for the loss of one.",
         "Find out why {servers} went."),
    ),
    "overload-ejection-cascade": Lesson(
        ("Limits: bound what each server has at a time, so that its check is answered.", _LOCAL,
         "A floor: below a part of healthy servers nobody else is taken out."),
        ("Set `limits.server_in_flight` and a short `timeouts.queue_s` in pool {pool}.",
         "Let the check of {servers} be answered beside the line of requests."),
    ),
    "poison-request-ejects-all": Lesson(
        ("Patience: blame a server after five failures or more, not after one.",
         "One more try: send a failed request to one other server, not to all."),
        ("Find the request that {servers} failed, and repair its handler.",
         "Raise `ejection.consecutive_errors` in pool {pool}."),
    ),
    "pool-emptied-by-admin-state": Lesson(
        ("A floor: let no command or script take out the last servers.",
         "Review: an empty pool is an error before it ships."),
        ("Find who took out {servers}, and why nothing objected.",
         "Set `minimum_servers` of pool {pool} to what it needs."),
    ),
    "restart-flood": Lesson(
        ("Slow start: give a server that comes back a part that grows over half a minute or more.",
         "Readiness: pass the check only after warming up."),
        ("Set `slow_start_s` in pool {pool}.",
         "Measure how long {servers} takes to get warm."),
    ),
    "retry-amplification": Lesson(
        ("A budget: let retries be one in ten requests at most.",
         "One layer: retry where the reason is known, and nowhere else.",
         'No retry of "overloaded": an answer that says so is final.'),
        ("Lower `retries` of pool {pool}, and list who else repeats requests in front of and behind it.",
         "Find out what made {servers} fail in the first place."),
    ),
    "runtime-drain-lost-on-reload": Lesson(
        ("Intent in one place: a drain belongs into the configuration, not into a process.",
         "Look after a reload: compare who serves before and after it."),
        ("Write the drain of {servers} into the configuration of pool {pool}.",
         "Repair {servers}, which was taken out for a reason."),
    ),
    "server-maxconn-too-low": Lesson(
        ("Little's law: requests per second times seconds per request, times one and a half, for every limit.",
         "Watch queues: a queue in front of idle servers is a limit that is too low."),
        ("Compute and set the limit of requests in flight in pool {pool}.",
         "Write down what {servers} can bear."),
    ),
    "stale-backend-slots": Lesson(
        ("Compare lists: alert when discovery and the balancer differ for a minute.",
         "Age: alert on the age of the balancer's list of servers."),
        ("Compare the list of pool {pool} with discovery, and strike out {servers} if they are gone.",
         "Find out since when pool {pool} got no news."),
    ),
    "sticky-session-skew": Lesson(
        ("Sessions elsewhere: keep them outside of servers, so that any may serve anybody.",
         "A longest life for affinities, so that load moves by itself."),
        ("Give the affinity of pool {pool} a longest life.",
         "Look at the shares of {servers} again after the next scale-out."),
    ),
}  # fmt: skip
