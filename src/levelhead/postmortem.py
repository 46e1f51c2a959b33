"""An incident's record as a postmortem in Markdown: every figure is the record's, and what is unknown is called so.

The sections are those of the form that many teams know: issue summary, timeline, misleading paths, root cause and
resolution, detection, corrective and preventative measures, tasks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import partial

from levelhead.diagnose import CERTAIN_ENOUGH, title
from levelhead.diagnose.base import NONE_OF_THESE, Story
from levelhead.diagnose.lessons import LESSONS, Lesson
from levelhead.incident import Action, EntryKind, Incident, cause_of, folded, remote
from levelhead.model import Slo


@dataclass(frozen=True, slots=True)
class Facts:
    """What measures and tasks name: the pool, the servers in words, the revision in words ("" where unknown)."""

    pool: str
    servers: str
    revision: str


@dataclass(frozen=True, slots=True)
class Advice:
    """What follows from a cause: measures ("heading: text"), and tasks that somebody can do and tick off."""

    measures: tuple[str, ...]
    tasks: tuple[str, ...]


def markdown(incident: Incident, *, tz: tzinfo, slo: Slo | None = None, at: float | None = None) -> str:
    """The postmortem of an incident with clock times in `tz`; an open one is rendered "so far".

    `slo` is the promise of the incident's pool, None where it is not known. `at` (Unix seconds) is when an open
    incident is looked at; without it, the latest time in the record.
    """
    page = _Page(incident, tz, slo, _latest(incident) if at is None else at)
    sections = (
        page.head(), page.summary(), page.timeline(), page.misleading(), page.cause_and_resolution(), page.detection(),
        page.communication(), page.measures(), page.tasks(),
    )  # fmt: skip
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


# What introduces a line of the timeline where its text does not say it by itself.
_INTRODUCED: dict[EntryKind, str] = {"symptom": "noticed: ", "story": "likely cause: "}


@dataclass(frozen=True, slots=True)
class _Page:
    """The record and how it is to be read; each method is one section, as lines."""

    incident: Incident
    tz: tzinfo
    slo: Slo | None
    at: float

    def head(self) -> list[str]:
        i = self.incident
        lines = [f"# Postmortem {_plain(i.id)}: {_plain(i.title)}"]
        if i.open:
            known = f"Everything below is what is known so far, as of {self._moment(self.at)}."
            lines += ["", f"**This incident is still open ({i.phase.value}).** {known}"]
        return lines

    def summary(self) -> list[str]:
        return [
            "## Issue Summary",
            "",
            f"- **Duration:** {self._duration()}",
            f"- **Impact:** {self._impact()}",
            f"- **Root cause:** {_headline(self.incident)}",
        ]

    def timeline(self) -> list[str]:
        lines = ["## Timeline", ""]
        entries = (e for e in self.incident.entries if e.kind != "notice")
        told = folded(entries, remote(self.incident), "see Misleading Paths")
        if not told:
            return [*lines, "The record holds no entries."]
        day = ""
        for entry in sorted(told, key=lambda e: e.at if math.isfinite(e.at) else math.inf):
            today = self._day(entry.at)
            if today and today != day:
                lines += ["", f"{today}:", ""] if day else [f"{today}:", ""]
                day = today
            text = f"{_INTRODUCED.get(entry.kind, '')}{_plain(entry.text)}"
            lines.append(f"- **{self._clock(entry.at)}** {_who(entry.who)}: {text}")
        return lines

    def misleading(self) -> list[str]:
        lines = ["## Misleading Paths", ""]
        i = self.incident
        first = [e for e in i.entries if e.kind == "story" and cause_of(e) not in ("", i.cause)]
        undone = [a for a in i.actions if a.undone_at is not None]
        if not (i.refuted or first or undone):
            return [*lines, "None: no other story was ruled out on the way, and nothing that was done was undone."]
        lines += [f"- At {self._clock(e.at)} it was taken for {_plain(e.text)}" for e in first]
        for action in undone:
            did = f"{_who(action.who)} did what did not help: {_plain(action.what)}"
            lines.append(f"- At {self._clock(action.at)} {did}. It was undone at {self._clock(action.undone_at)}.")
        few, many = self._by_likelihood()
        for story in few:
            lines.append(f"- {self._refutation(story)}:")
            lines += [f"  - against it: {_plain(clue)}" for clue in story.contra] or ["  - why is not in the record"]
            lines += [f"  - for it: {_plain(clue)}" for clue in story.pro]
        if many:
            lines += ["", f"{len(many)} other causes were looked at and never likely:", ""]
        for story in many:
            pro = f" (for it: {_plain('; '.join(story.pro))})" if story.pro else ""
            lines.append(f"- {self._refutation(story)}: {_plain('; '.join(story.contra))}{pro}")
        return lines

    def cause_and_resolution(self) -> list[str]:
        i = self.incident
        lines = ["## Root Cause and Resolution", "", "### Root cause", "", _headline(i)]
        if i.stories and i.cause != NONE_OF_THESE:
            top = i.stories[0]
            lines += ["", "Evidence for it:", "", *_bullets(top.pro, "none in the record")]
            if top.contra:
                lines += ["", "Evidence against it:", "", *_bullets(top.contra, "")]
        rest = [s for s in i.stories[1:] if s.probability >= 0.05 and s.cause != NONE_OF_THESE]
        if rest:
            shown = tuple(f"{s.cause} ({_percent(s.probability)})" for s in rest)
            lines += ["", "Also possible:", "", *_bullets(shown, "")]
        lines += ["", "### Resolution", ""]
        lines += [line for action in i.actions for line in self._action(action)] or [_nothing_done(i)]
        if i.resolution:
            lines += ["", f"Resolved at {self._clock(i.clocks.resolved)}: {_plain(i.resolution)}"]
        elif i.open:
            lines += ["", "Not resolved yet."]
        return lines

    def detection(self) -> list[str]:
        clocks = self.incident.clocks
        lines = ["## Detection", ""]
        symptom = next((e for e in self.incident.entries if e.kind == "symptom"), None)
        delay = _span(clocks.detected - clocks.fault)
        who = _who(symptom.who) if symptom else "Levelhead"
        lines.append(f"{who} noticed it at {self._clock(clocks.detected)}, {delay} after the fault began.")
        how = f"What was noticed: {_plain(symptom.text)}" if symptom else "What was noticed first is not in the record."
        lines += ["", how, "", self._requests_seen()]
        lines += ["", "| Step | Time | After the fault began |", "|---|---|---|"]
        steps = (
            ("Fault", clocks.fault),
            ("Detected", clocks.detected),
            ("Cause named", clocks.diagnosed),
            ("First action", clocks.acted),
            ("Users well again", clocks.recovered),
            ("Closed", clocks.resolved),
        )
        absent = "not yet" if self.incident.open else "not in the record"
        for name, time in steps:
            lines.append(f"| {name} | {self._clock(time)} | {absent if time is None else _span(time - clocks.fault)} |")
        return lines

    def communication(self) -> list[str]:
        """Whom Levelhead told what, apart from the timeline, which would drown in it."""
        i = self.incident
        lines = ["## Communication", ""]
        by = i.acknowledged_by
        lines.append(f"Acknowledged by {_who(by)}." if by else "Nobody acknowledged it.")
        sent = [f"{self._clock(e.at)}: {_plain(e.text)}" for e in i.entries if e.kind == "notice"]
        return [*lines, "", "Notices:", "", *(f"- {line}" for line in sent)] if sent else lines

    def measures(self) -> list[str]:
        lines = ["## Corrective and Preventative Measures", ""]
        for number, measure in enumerate(_advice(self.incident).measures, 1):
            heading, _, text = measure.partition(": ")
            lines.append(f"{number}. **{heading}:** {text}")
        return lines

    def tasks(self) -> list[str]:
        found = [*_advice(self.incident).tasks, *_tasks_of_the_record(self.incident), *map(_plain, self.incident.tasks)]
        return ["## Tasks", "", *(f"- [ ] {task}" for task in dict.fromkeys(found))]

    def _duration(self) -> str:
        clocks = self.incident.clocks
        begin = self._moment(clocks.fault)
        end = clocks.recovered if clocks.recovered is not None else clocks.resolved
        if end is None:
            if self.incident.open:
                return f"{begin} until now, {_span(self.at - clocks.fault)} so far."
            return f"{begin} until an unknown time."
        over = self._clock(end) if self._day(end) == self._day(clocks.fault) else self._moment(end)
        after = " Users are well; it is being watched that it stays so." if self.incident.open else ""
        if clocks.recovered is None:
            after = " It was closed then; users had not been seen well again."
        return f"{begin} to {over} ({_span(end - clocks.fault)}).{after}"

    def _impact(self) -> str:
        harm = self.incident.harm
        so_far = " so far" if self.incident.open else ""
        users = "No sampled requests: the share of users harmed is unknown."
        if harm.users:
            part = f"{harm.users_harmed:,} of {_count(harm.users, 'user')} ({_percent(harm.users_ratio)})"
            users = f"{part} had at least one harmed request{so_far}."
        requests = "No requests were counted: how many were harmed is unknown."
        if harm.requests:
            part = f"{harm.requests_harmed:,} of {_count(harm.requests, 'request')} ({_percent(harm.requests_ratio)})"
            requests = f"{part} {self._harm_words()}{so_far}."
        return " ".join([users, *self._sampling(), requests, *self._promise()])

    def _sampling(self) -> list[str]:
        harm = self.incident.harm
        if not harm.users or not harm.sampled < 1.0:
            return []
        part = "an unknown part of all"
        if harm.sampled > 1e-9:
            part = f"at times as few as one in {round(1 / harm.sampled):,}"
        return [f"Users are counted from sampled requests ({part}), so these are the users seen, not all there were."]

    def _harm_words(self) -> str:
        late = f"{self.slo.latency_ms:g} ms" if self.slo else "promised"
        return f"failed or took longer than {late}"

    def _promise(self) -> list[str]:
        harm = self.incident.harm
        if self.slo is None or not harm.requests:
            return []
        served = _percent(1 - harm.requests_ratio)
        return [f"Of all requests {served} were served well; {100 * self.slo.availability:g}% is the promise."]

    def _requests_seen(self) -> str:
        requests = self.incident.harm.requests
        if not requests:
            return "No requests were counted."
        return f"{_count(requests, 'request')} arrived in all; how many came before the detection is not in the record."

    def _by_likelihood(self) -> tuple[list[Story], list[Story]]:
        """The refuted stories that misled or might have, and those that nobody would have believed."""
        i, unlikely = self.incident, remote(self.incident)
        if len(unlikely) < 2:
            return list(i.refuted), []
        return [s for s in i.refuted if s.cause not in unlikely], [s for s in i.refuted if s.cause in unlikely]

    def _refutation(self, story: Story) -> str:
        when = next((e.at for e in self.incident.entries if e.kind == "refuted" and cause_of(e) == story.cause), None)
        at = "" if when is None else f" at {self._clock(when)}"
        return f"**{_plain(story.cause)}** ({_lower(title(story.cause))}) was ruled out{at}"

    def _action(self, action: Action) -> Iterator[str]:
        yield f"- **{self._clock(action.at)}** {_who(action.who)}: {_plain(action.what)}"
        yield f"  - why: {_plain(action.because) or 'no reason given'}"
        unmeasured = "not measured yet" if self.incident.open else "not in the record"
        yield f"  - measured effect: {_plain(action.effect) or unmeasured}"
        if action.undone_at is not None:
            yield f"  - undone at {self._clock(action.undone_at)}"

    def _clock(self, time: float | None) -> str:
        when = self._time(time)
        return "–" if when is None else f"{when:%H:%M:%S} {_zone(when)}"

    def _moment(self, time: float) -> str:
        when = self._time(time)
        return "an unknown time" if when is None else f"{when:%Y-%m-%d %H:%M:%S} {_zone(when)}"

    def _day(self, time: float) -> str:
        when = self._time(time)
        return "" if when is None else f"{when:%Y-%m-%d}"

    def _time(self, time: float | None) -> datetime | None:
        if time is None:
            return None
        try:
            return datetime.fromtimestamp(time, self.tz)
        except (ValueError, OverflowError, OSError):
            return None  # Not a time that a calendar knows.


def _headline(incident: Incident) -> str:
    """The cause in one sentence, no surer than the record is."""
    if not incident.stories:
        return "Unknown: no story of what happened is in the record."
    top = incident.stories[0]
    if top.cause == NONE_OF_THESE:
        return "Unknown: none of the known causes explains what was seen."
    about = f", {_servers(top.servers)}" if top.servers else ""
    told = f"{title(top.cause)} ({_plain(top.cause)}{about}, {_percent(top.probability)} likely)."
    return told if top.probability >= CERTAIN_ENOUGH else f"Not certain. The likeliest: {told}"


def _nothing_done(incident: Incident) -> str:
    refusals = [_plain(e.text) for e in incident.entries if e.kind == "refusal"]
    if refusals:
        return f"Nothing was changed: {'; '.join(dict.fromkeys(refusals))}"
    return "Nothing was changed."


def _advice(incident: Incident) -> Advice:
    top = incident.stories[0] if incident.stories else None
    unsure = top is None or top.probability < CERTAIN_ENOUGH
    servers = _servers(top.servers) if top is not None and top.servers and not unsure else ""
    facts = Facts(_plain(incident.pool), servers, _revision(incident))
    return ADVICE.get("" if unsure or top is None else top.cause, _unknown)(facts)


def _tasks_of_the_record(incident: Incident) -> Iterator[str]:
    """Tasks that follow from what happened, whatever the cause."""
    pool = _plain(incident.pool)
    for action in incident.actions:
        if action.undone_at is not None:
            yield f"Find out why this did not help in pool {pool}, before it is tried again: {_plain(action.what)}"
    if not incident.harm.users:
        yield f"Make users countable in pool {pool}: see that the proxy's sampled requests reach Levelhead."
    if not incident.open and not incident.acknowledged_by:
        yield f"Check that the notice of {_plain(incident.id)} reached the people on call: nobody acknowledged it."
    yield f"Review {_plain(incident.id)} with those who were there; add what the record does not know."


def _weight_typo(facts: Facts) -> Advice:
    came_from = f"the file that {facts.revision} came from" if facts.revision else "the configuration file"
    which = f"the weight of {facts.servers}" if facts.servers else "the weights"
    return Advice(
        (
            "Shares in every review: put the predicted share of each server beside every change of weights, so that "
            "whoever approves it reads what it will do, not only what it says.",
            "Bounded changes: let no single change more than double a server's share; larger moves go in steps, each "
            "looked at before the next.",
            "Weights from capacity: declare what each server can bear and let the weights follow from it; a number "
            "that nobody types cannot be mistyped.",
            "Watch shares, not averages: alert on each server's share of requests against the intended one; averages "
            "over a pool hide one overloaded server.",
        ),
        (
            f"Correct {which} in {came_from}, so that the next change does not bring it back.",
            f"Declare `capacity` for every server of pool {facts.pool} and set `intent: capacity` there.",
            f"Require the predicted shares of pool {facts.pool} in the review of each change of its weights.",
        ),
    )


def _server_down(facts: Facts) -> Advice:
    who = facts.servers or "the server"
    return Advice(
        (
            "Room for a loss: keep enough capacity that the pool bears its peak with one server gone.",
            "Quick checks: choose interval and fall of the check so that a dead server is out within a few seconds, "
            "and let requests that may be repeated go to another server.",
            "No single fate: spread the servers of a pool over machines, racks and releases, so that one fault takes "
            "out one of them.",
        ),
        (
            f"Find out why {who} in pool {facts.pool} stopped taking connections, and write it here.",
            f"Check that pool {facts.pool} bears its peak rate without {who}; add a server if it does not.",
            f"Review `check` (interval_s, fall) and `retries` of pool {facts.pool} against the time to detect above.",
        ),
    )


def _shallow_check(facts: Facts) -> Advice:
    who = facts.servers or "the server"
    return Advice(
        (
            "Checks that see what users see: let the health check exercise what requests need, not only that a port "
            "is open.",
            "Passive checks beside active ones: take a server out after a run of failed requests, whatever its check "
            "says.",
            "Servers against their peers: alert when one server fails more than the others; the pool's average stays "
            "low while one server fails every request.",
        ),
        (
            f"Find out why {who} in pool {facts.pool} failed requests, and put it back only then.",
            f"Give pool {facts.pool} a `check.path` that fails when {who} cannot serve what failed here.",
            f"Turn on `ejection` in pool {facts.pool} (consecutive_errors), so that failed requests count too.",
        ),
    )


def _slow_server(facts: Facts) -> Advice:
    who = facts.servers or "the server"
    return Advice(
        (
            "A policy that feels slowness: with least-request, or random with two draws, a slow server gets fewer "
            "requests by itself; round robin keeps feeding it.",
            "Timeouts near the truth: set the server timeout near the 99.9th percentile of good days, so that one slow "
            "server cannot hold requests for half a minute.",
            "Servers against their peers: alert on latency and requests in flight of one server against the others, "
            "not on the pool's average.",
        ),
        (
            f"Find out what slowed {who} in pool {facts.pool} (neighbours, disk, memory, a release) and write it here.",
            f"Try `policy: least-request` in pool {facts.pool} and compare latencies with one slow server.",
            f"Set `timeouts.server_s` of pool {facts.pool} from its measured latencies.",
        ),
    )


def _surge(facts: Facts) -> Advice:
    return Advice(
        (
            "Know what is coming: have campaigns and launches announced to those who run the servers, with the rate "
            "that is expected.",
            "Know what can be borne: measure the rate at which latency breaks the promise, and keep a margin above the "
            "peak.",
            "Turn away early and kindly: bound the queue and the requests in flight per server, so that a surge costs "
            "some users a quick refusal instead of costing all of them a timeout.",
        ),
        (
            f"Find out where the surge on pool {facts.pool} came from and whether it will come again.",
            f"Load-test pool {facts.pool} and declare `capacity` for each of its servers.",
            f"Set `limits` (queue, server_in_flight) of pool {facts.pool} from that test.",
        ),
    )


def _unknown(facts: Facts) -> Advice:
    return Advice(
        (
            "Find the cause: until it is known, any measure is a guess; complete this record first.",
            "Keep more evidence: note what would have told the causes apart, and have it measured the next time.",
        ),
        (
            f"Find the cause of the trouble in pool {facts.pool}, starting from the first symptom in the timeline.",
            f"Add to this record what servers and deployments of pool {facts.pool} show for the same minutes.",
        ),
    )


def _learnt(lesson: Lesson, facts: Facts) -> Advice:
    servers = facts.servers or "the servers"
    return Advice(lesson.measures, tuple(t.format(servers=servers, pool=facts.pool) for t in lesson.tasks))


# What follows from each cause that `diagnose` can name.
ADVICE: dict[str, Callable[[Facts], Advice]] = {
    "server-down": _server_down,
    "shallow-check": _shallow_check,
    "slow-server-gray-failure": _slow_server,
    "traffic-surge": _surge,
    "weight-typo-skew": _weight_typo,
    NONE_OF_THESE: _unknown,
    **{cause: partial(_learnt, lesson) for cause, lesson in LESSONS.items()},
}


def _revision(incident: Incident) -> str:
    """ "revision 7": the one that the evidence names, else the one that a change in the timeline names."""
    changes = (e.text for e in incident.entries if e.kind == "change")
    told = [*(clue for story in incident.stories[:1] for clue in story.pro), *changes]
    found = next((m for text in told if (m := re.search(r"\brevision ([0-9]{1,9})\b", text))), None)
    return found[0] if found else ""


def _latest(incident: Incident) -> float:
    c = incident.clocks
    times = [t for t in (c.fault, c.detected, c.diagnosed, c.acted, c.recovered, c.resolved) if t is not None]
    return max([*times, *(e.at for e in incident.entries), *(a.at for a in incident.actions)])


def _bullets(texts: tuple[str, ...], nothing: str) -> list[str]:
    return [f"- {_plain(text)}" for text in texts] or [f"- {nothing}"]


def _servers(names: tuple[str, ...]) -> str:
    shown = [_plain(name) for name in names]
    if len(shown) == 1:
        return f"server {shown[0]}"
    return f"servers {', '.join(shown[:-1])} and {shown[-1]}"


def _who(name: str) -> str:
    return "Levelhead" if name == "levelhead" else _plain(name) or "somebody"


def _lower(words: str) -> str:
    return words[:1].lower() + words[1:]


def _zone(when: datetime) -> str:
    return when.tzname() or f"{when:%z}"


def _span(seconds: float) -> str:
    """A length of time in words, with two units at most."""
    if not math.isfinite(seconds) or seconds < 0:
        return "an unknown time"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, below, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // below
            return f"{whole // size} {unit} {rest} {smaller}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _percent(ratio: float) -> str:
    """A share that never rounds something to nothing, nor nearly all to all."""
    if not math.isfinite(ratio):
        return "unknown"
    if 0 < ratio < 0.001:
        return "less than 0.1%"
    if 0.999 < ratio < 1:
        return "more than 99.9%"
    return f"{ratio:.1%}".replace(".0%", "%")


# Characters that Markdown would take for more than themselves; underscores and ampersands only where it would.
_SPECIAL = re.compile(r"[\\`*\[\]<~|]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w{1,31};)")


def _plain(text: str) -> str:
    """One line that reads in the rendered page as it was written."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return _SPECIAL.sub(lambda found: "\\" + found[0], line)
