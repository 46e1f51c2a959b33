"""An hour each of steady, bursty and surging traffic in the simulator, and what Levelhead did. It should do nothing.

    .venv/bin/python bench/healthy.py [--hours 1]
"""

from __future__ import annotations

import argparse
import time

from levelhead.drills.base import Event, Scenario, Traffic
from levelhead.drills.rehearse import rehearse
from levelhead.drills.text import parse_scenario
from levelhead.lab.library import scenarios


def worlds(seconds: float) -> dict[str, Scenario]:
    quiet = parse_scenario(scenarios()["march-10"], "march-10").model_copy(
        update={"events": (), "duration_s": seconds}
    )
    surge = Event(at_s=seconds / 3, until_s=2 * seconds / 3, traffic=Traffic(factor=3.0))
    few = quiet.users.model_copy(update={"rps": 50.0})
    return {
        "steady": quiet,
        "bursty": quiet.model_copy(update={"users": few.model_copy(update={"shape": "burst"})}),
        "surge of 3": quiet.model_copy(update={"users": few, "events": (surge,)}),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--hours", type=float, default=1.0)
    chosen = options.parse_args()
    for name, scenario in worlds(3600.0 * chosen.hours).items():
        began = time.process_time()
        it = rehearse(scenario, mode="act")
        acts = [a for i in it.incidents for a in i.actions]
        print(f"{name:<11} {chosen.hours:g} h, {it.record.harm.requests_total} requests: {len(it.puts)} changes, "
              f"{len(acts)} actions, {len(it.incidents)} incidents ({time.process_time() - began:.0f} s)")  # fmt: skip
        for incident in it.incidents:
            print(f"  {incident.id} {incident.title}")


if __name__ == "__main__":
    main()
