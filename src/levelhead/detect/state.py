"""What the detectors know of the configuration, and everything they remember."""

from __future__ import annotations

from dataclasses import dataclass

from levelhead.detect.base import Track
from levelhead.detect.budget import Burn
from levelhead.detect.checks import Checks
from levelhead.detect.connections import Links
from levelhead.detect.errors import Trial
from levelhead.detect.recent import Recent
from levelhead.detect.season import Season
from levelhead.model import Fleet
from levelhead.telemetry import Flags, Floats, Layout


@dataclass(frozen=True, slots=True)
class Expected:
    """What each row should show: intended and predicted shares, the SLO's latency, and whether keys are spread."""

    intended: Floats
    predicted: Floats
    late_ms: Floats
    by_key: Floats
    adaptive: Flags  # the policy itself gives more to servers that are faster
    limit: Floats  # requests in flight that the proxy allows it; infinite if none is set
    availability: Floats  # per pool


@dataclass(frozen=True, slots=True)
class Detection:
    """Everything the detectors remember. Columns are per row (server) unless they say per pool."""

    layout: Layout
    fleet: Fleet  # that `expected` was computed for
    expected: Expected
    recent: Recent
    season: Season
    forecast: Floats  # per pool: requests per second to be expected now; NaN before anything is known
    share: Track
    unpredicted: Track
    starved: Track
    error: Trial
    late: Trial
    held: Track
    checks: Checks
    burn: Burn
    surge: Track  # per pool, as all below
    slowdown: Track
    retries: Track
    pool_burn: Burn
    harm: Track  # facts, not tests, from here
    refused: Track
    queue: Track
    crowded: Track
    links: Links
    harmed_at: Floats  # per pool: when users were last harmed
    standing: Floats  # admin state, health and weight in one number, to see when one of them changes
    settled_at: Floats  # when one of them last changed anywhere in the pool
    serving_since: Floats  # since when it is there and serves; NaN while it does not
    returned: Flags  # it serves again since this tick
    got: Floats  # its requests since its share is suspect, and those of the whole pool
    of_all: Floats
    overfed_at: Floats  # when it last got more than its share, until it has worked off what that left
