"""Runs the demo again and again on a real HAProxy and prints what became of users, with and without Levelhead.

    .venv/bin/python bench/demo.py [--runs 10] [--nobody 1] [--drills]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics

from levelhead.drills.score import DrillRecord, Mode
from levelhead.drills.text import parse_scenario
from levelhead.lab.library import scenarios
from levelhead.stage import Stage


def ran(name: str, mode: Mode) -> DrillRecord:
    scenario = parse_scenario(scenarios()[name], name)
    return asyncio.run(Stage(scenario, mode=mode).perform()).record


def line(name: str, mode: Mode, record: DrillRecord) -> str:
    clocks, harm = record.clocks_s, record.harm
    fault = clocks.fault or 0.0

    def after(at: float | None) -> str:
        return "    -" if at is None else f"{at - fault:5.2f}"

    cause = record.stories[0].cause if record.stories else "-"
    surge = next((s for s in record.stories if s.cause == "traffic-surge"), None)
    ruled_out = "yes" if surge is not None and surge.probability < 0.05 and surge.evidence_against else "no"
    return (f"{name:<16} {mode:<7} {after(clocks.detected)} {after(clocks.acted)} {after(clocks.recovered)}   "
            f"{harm.users_harmed:4}/{harm.users_total} {harm.users_harmed / max(harm.users_total, 1):6.1%}   "
            f"{harm.requests_harmed:5}/{harm.requests_total}   {cause:<26} {ruled_out:<5} "
            f"{'passed' if record.passed else 'NOT PASSED: ' + '; '.join(record.missed)}")  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=10)
    options.add_argument("--nobody", type=int, default=1, help="runs in mode shadow, as `levelhead demo --no-guard`")
    options.add_argument("--drills", action="store_true", help="the other drills, too")
    chosen = options.parse_args()
    print("seconds after the fault: detected, acted, users well; harmed: users, requests; cause; surge ruled out")
    records = []
    for _ in range(chosen.runs):
        records.append(ran("march-10", "act"))
        print(line("march-10", "act", records[-1]), flush=True)
    for _ in range(chosen.nobody):
        print(line("march-10", "shadow", ran("march-10", "shadow")), flush=True)
    for name in (n for n in scenarios() if chosen.drills and n != "march-10"):
        print(line(name, "act", ran(name, "act")), flush=True)
    if records:
        waits = [r.clocks_s.detected - r.clocks_s.fault for r in records if r.clocks_s.detected and r.clocks_s.fault]
        worst = max(r.harm.users_harmed / r.harm.users_total for r in records)
        print(f"{sum(r.passed for r in records)} of {len(records)} passed; detected after "
              f"{statistics.median(waits):.2f} s (median), {max(waits):.2f} s (worst); "
              f"most users harmed {worst:.1%}")  # fmt: skip


if __name__ == "__main__":
    main()
