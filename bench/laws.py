"""Simulated hours of random faults, and whether a law of mitigation was broken. Exit 1 if one was.

    .venv/bin/python bench/laws.py [--pool-hours 2000] [--pools 40] [--tick-s 1] [--seed 1]

One run is a quarter of an hour of so many pools; runs are spread over the cores.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.laws import Broken, Toll, run

RUN_H = 0.25


def played(job: tuple[int, int, float, float]) -> tuple[int, Toll]:
    """The seed and its toll; a run that ends in an exception breaks a law too, and names its seed."""
    try:
        return job[0], run(*job)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        crashed = Broken(0.0, "the loop does not crash", f"{error!r} in {Path(where.filename).name}:{where.lineno}")
        return job[0], Toll(broken=[crashed])


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pool-hours", type=float, default=2000.0)
    options.add_argument("--pools", type=int, default=40)
    options.add_argument("--tick-s", type=float, default=1.0)
    options.add_argument("--seed", type=int, default=1, help="the first of as many as there are runs")
    options.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    chosen = options.parse_args()
    runs = max(round(chosen.pool_hours / chosen.pools / RUN_H), 1)
    each = chosen.pool_hours / chosen.pools / runs
    jobs = [(chosen.seed + n, chosen.pools, each, chosen.tick_s) for n in range(runs)]
    began, whole, failing = time.monotonic(), Toll(), list[int]()
    with ProcessPoolExecutor(chosen.cores) as workers:
        for seed, toll in workers.map(played, jobs):
            for name in ("pool_hours", "faults", "plans", "undone", "refused", "deaths"):
                setattr(whole, name, getattr(whole, name) + getattr(toll, name))
            whole.broken += toll.broken
            for broken in toll.broken[:3]:
                print(f"seed {seed}, {broken.at_s:.2f} s: {broken.law}: {broken.what}")
            if toll.broken:
                failing.append(seed)
            print(f"{whole.pool_hours:.0f} of {chosen.pool_hours:.0f} pool-hours, {time.monotonic() - began:.0f} s",
                  end="\r", file=sys.stderr)  # fmt: skip
    print(f"{whole.pool_hours:.0f} pool-hours: {whole.faults} faults, {whole.plans} plans, {whole.undone} undone, "
          f"{whole.refused} changes refused by the engine, {whole.deaths} deaths of the control plane: "
          f"{len(whole.broken)} laws broken ({time.monotonic() - began:.0f} s)")  # fmt: skip
    if failing:
        print(f"again: .venv/bin/python bench/laws.py --pools {chosen.pools} --pool-hours {each * chosen.pools:g} "
              f"--tick-s {chosen.tick_s:g} --seed {failing[0]}")  # fmt: skip
    return 1 if failing else 0


if __name__ == "__main__":
    sys.exit(main())
