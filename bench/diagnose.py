"""Every cause made to happen in simulated worlds: is the first story right, and are its probabilities to be believed?

    .venv/bin/python bench/diagnose.py [--variants 50] [--cause NAME ...] [--within SECONDS] [--fit] [--no-pictures]

All causes, pools to which nothing happens, and pairs of faults at once (scored apart). `--fit` plays other seeds and
prints the temperature to be written into src/levelhead/diagnose/calibration.py. Pictures go to docs/.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from levelhead.diagnose import accounts, told
from levelhead.diagnose.base import NONE_OF_THESE, Account
from levelhead.diagnose.calibration import TEMPERATURE
from levelhead.drills.cases import NOTHING, SPOILERS, Trial, case, pair
from levelhead.drills.trials import play

DOCS = Path(__file__).parent.parent / "docs"
SURGE = "traffic-surge"
# Seeds of the scored cases, and of those on which probabilities are calibrated: they share none.
SCORED, FITTED = 1_000_000, 2_000_000
BINS = 10
PAIRS = (
    ("traffic-surge", "slow-server-gray-failure"),
    ("traffic-surge", "shallow-check"),
    ("traffic-surge", "server-down"),
    ("weight-typo-skew", "server-down"),
    ("weight-typo-skew", "shallow-check"),
    ("slow-server-gray-failure", "shallow-check"),
    ("server-down", "slow-server-gray-failure"),
    ("forgotten-drain", "server-down"),
    ("check-flapping", "slow-server-gray-failure"),
    ("hash-hot-key", "shallow-check"),
    ("deep-check-ejects-all", "traffic-surge"),
    ("keepalive-pinning-after-scale-out", "shallow-check"),
)


@dataclass(frozen=True, slots=True)
class Result:
    """One played trial: what every cause made of it (none where no trouble was seen), and how long it took to see."""

    cause: str
    seed: int
    accounts: tuple[tuple[str, Account], ...]
    seen_after_s: float
    early: bool

    def first(self, temperature: float) -> tuple[str, float]:
        stories = self.stories(temperature)
        return stories[0] if stories else (NOTHING, 1.0)

    def stories(self, temperature: float) -> list[tuple[str, float]]:
        return [(s.cause, s.probability) for s in told(self.accounts, temperature)] if self.accounts else []


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--variants", type=int, default=50)
    options.add_argument("--cause", action="append", choices=[*SPOILERS, NOTHING])
    options.add_argument("--within", type=float, default=math.inf, help="score so long after trouble is seen")
    options.add_argument("--fit", action="store_true", help="calibrate on other seeds and print the temperature")
    options.add_argument("--no-pictures", action="store_true")
    options.add_argument("--misses", action="store_true", help="name every trial whose first story is wrong")
    chosen = options.parse_args()
    within: float = chosen.within
    names = chosen.cause or [*SPOILERS, NOTHING]
    began = time.monotonic()
    if chosen.fit:
        work = [(name, "", FITTED + i, math.inf) for i in range(chosen.variants) for name in names]
        calibrating = list(_played(work))
        _misses(calibrating)
        _fit(calibrating)
        return
    singles = list(_played([(name, "", SCORED + i, within) for i in range(chosen.variants) for name in names]))
    _report(singles, names)
    if chosen.misses:
        _misses(singles)
    if not chosen.cause:
        each = max(1, chosen.variants // 5)
        _report_pairs(list(_played([(one, two, SCORED + i, within) for one, two in PAIRS for i in range(each)])))
        if not chosen.no_pictures:
            DOCS.joinpath("diagnose-confusion.svg").write_text(_confusion(singles, names), encoding="utf-8")
            DOCS.joinpath("diagnose-reliability.svg").write_text(_reliability(singles), encoding="utf-8")
    print(f"{time.monotonic() - began:.0f} s on {os.cpu_count()} cores")


def _played(work: list[tuple[str, str, int, float]]) -> Iterator[Result]:
    with multiprocessing.Pool() as workers:
        for i, result in enumerate(workers.imap_unordered(_play, work, chunksize=2), 1):
            if i % 100 == 0:
                print(f"  {i} of {len(work)} played", flush=True)
            yield result


def _play(work: tuple[str, str, int, float]) -> Result:
    one, two, seed, within = work
    trial: Trial = pair(one, two, seed) if two else case(one, seed)
    played = play(trial, within)
    made: tuple[tuple[str, Account], ...] = ()
    if played.case is not None:
        made = accounts(played.case)
    return Result(trial.cause, seed, made, played.first_s - trial.from_s, played.early)


# --- what came of it ---


def _report(results: list[Result], names: list[str]) -> None:
    print(f"\n| {'cause':<34} | right | not noticed | most often taken for |\n|---|---|---|---|")
    for name in names:
        mine = [r.first(TEMPERATURE)[0] for r in results if r.cause == name]
        wrong = Counter(first for first in mine if first not in (name, NOTHING)).most_common(2)
        unseen = sum(first == NOTHING for first in mine) if name != NOTHING else 0
        taken = ", ".join(f"{cause} ({count})" for cause, count in wrong)
        print(f"| {name:<34} | {mine.count(name) / len(mine):5.0%} | {unseen:11} | {taken} |")
    right = sum(r.first(TEMPERATURE)[0] == r.cause for r in results)
    print(f"\nfirst story right: {right} of {len(results)} ({right / len(results):.1%}; wanted: 95%)")
    surges, faults = [r for r in results if r.cause == SURGE], [r for r in results if r.cause not in (SURGE, NOTHING)]
    if surges and faults:
        blamed = sum(r.first(TEMPERATURE)[0] not in (SURGE, NOTHING, NONE_OF_THESE) for r in surges)
        missed = sum(r.first(TEMPERATURE)[0] == SURGE for r in faults)
        print(f"a surge called a fault: {blamed} of {len(surges)}; a fault called a surge: {missed} of {len(faults)} "
              f"(wanted: at most 0.5%)")  # fmt: skip
    error = _calibration_error(results, TEMPERATURE)
    print(f"expected calibration error {error:.3f} at temperature {TEMPERATURE:g} (wanted: at most 0.05)")
    print(f"trouble before its cause: {sum(r.early for r in results)} of {len(results)}")


def _report_pairs(results: list[Result]) -> None:
    print("\n| two at once | first story is one of them | both among the first three |\n|---|---|---|")
    for one, two in PAIRS:
        mine = [r for r in results if r.cause == f"{one}+{two}"]
        first = sum(r.first(TEMPERATURE)[0] in (one, two) for r in mine)
        both = sum({one, two} <= {c for c, _ in r.stories(TEMPERATURE)[:3]} for r in mine)
        print(f"| {one} + {two} | {first} of {len(mine)} | {both} of {len(mine)} |")
    total = sum(r.first(TEMPERATURE)[0] in r.cause.split("+") for r in results)
    print(f"\nof two at once, the first story is one of them: {total} of {len(results)} ({total / len(results):.0%})")


def _misses(results: list[Result]) -> None:
    for result in results:
        stories = result.stories(TEMPERATURE)
        if result.first(TEMPERATURE)[0] != result.cause:
            print(f"  {result.cause} {result.seed}: " + ", ".join(f"{c} {p:.0%}" for c, p in stories[:3]))


# --- calibration ---


def _fit(results: list[Result]) -> None:
    """The temperature with the highest likelihood of the true causes."""
    seen = [r for r in results if r.accounts and r.cause != NOTHING]
    grid = [0.5 * 1.05**i for i in range(60)]
    best = max(grid, key=lambda temperature: _likelihood(seen, temperature))
    print(f"fitted on {len(seen)} cases (seeds from {FITTED}): TEMPERATURE = {best:.2f}; log-likelihood per case "
          f"{_likelihood(seen, best) / len(seen):.4f}, at 1: {_likelihood(seen, 1.0) / len(seen):.4f}; "
          f"expected calibration error {_calibration_error(results, best):.3f}")  # fmt: skip


def _likelihood(results: list[Result], temperature: float) -> float:
    return sum(math.log(max(dict(r.stories(temperature)).get(r.cause, 0.0), 1e-6)) for r in results)


def _bins(results: list[Result], temperature: float) -> list[tuple[int, float, float]]:
    """Cases by the probability of their first story: how many, what was said in the mean, how often it was right."""
    rows: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for result in results:
        if result.accounts:
            cause, probability = result.first(temperature)
            rows[min(int(probability * BINS), BINS - 1)].append((probability, cause == result.cause))
    return [
        (len(row), sum(p for p, _ in row) / max(len(row), 1), sum(right for _, right in row) / max(len(row), 1))
        for row in rows
    ]


def _calibration_error(results: list[Result], temperature: float) -> float:
    bins = _bins(results, temperature)
    total = sum(count for count, _, _ in bins)
    return sum(count * abs(said - right) for count, said, right in bins) / max(total, 1)


# --- pictures ---


def _svg(width: int, height: int, title: str, parts: list[str]) -> str:
    style = "text{font:11px ui-sans-serif,system-ui,sans-serif;fill:#57606a}.t{font-size:14px;fill:#24292f}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{title}">'
    ground = f'<rect width="{width}" height="{height}" fill="#ffffff"/><text class="t" x="16" y="24">{title}</text>'
    return f"{head}<style>{style}</style>{ground}{''.join(parts)}</svg>\n"


def _confusion(results: list[Result], names: list[str]) -> str:
    cell, left, top = 18, 236, 236
    columns = [*names, NONE_OF_THESE]
    parts = [f'<text x="{left}" y="44">columns: the first story; rows: what happened</text>']
    for j, name in enumerate(columns):
        x = left + j * cell + 13
        parts.append(f'<text transform="translate({x},{top - 6}) rotate(-90)">{name}</text>')
    for i, name in enumerate(names):
        firsts = Counter(r.first(TEMPERATURE)[0] for r in results if r.cause == name)
        total, y = max(sum(firsts.values()), 1), top + i * cell
        parts.append(f'<text x="{left - 6}" y="{y + 13}" text-anchor="end">{name}</text>')
        for j, column in enumerate(columns):
            part = firsts[column] / total
            colour = "#eaeef2" if not part else "#2da44e" if column == name else "#cf222e"
            parts.append(f'<rect x="{left + j * cell}" y="{y}" width="{cell - 1}" height="{cell - 1}" fill="{colour}" '
                         f'fill-opacity="{0.15 + 0.85 * part if part else 1:.2f}"><title>{name} told as {column}: '
                         f"{firsts[column]} of {total}</title></rect>")  # fmt: skip
            if part:
                parts.append(f'<text x="{left + j * cell + 8}" y="{y + 12}" text-anchor="middle" '
                             f'style="font-size:8px;fill:#24292f">{100 * part:.0f}</text>')  # fmt: skip
    width, height = left + len(columns) * cell + 16, top + len(names) * cell + 16
    return _svg(width, height, "First story, per cent of the cases of each cause", parts)


def _reliability(results: list[Result]) -> str:
    size, left, top = 300, 60, 50
    bins = _bins(results, TEMPERATURE)
    parts = [f'<rect x="{left}" y="{top}" width="{size}" height="{size}" fill="#f6f8fa"/>',
             f'<line x1="{left}" y1="{top + size}" x2="{left + size}" y2="{top}" stroke="#8c959f" '
             'stroke-dasharray="4 4"/>']  # fmt: skip
    for tick in (0, 50, 100):
        at = tick / 100 * size
        parts.append(f'<text x="{left + at}" y="{top + size + 16}" text-anchor="middle">{tick}%</text>')
        parts.append(f'<text x="{left - 6}" y="{top + size - at + 4}" text-anchor="end">{tick}%</text>')
    largest = max(count for count, _, _ in bins)
    for count, said, right in bins:
        if count:
            x, y = left + said * size, top + size - right * size
            radius = 3 + 9 * math.sqrt(count / max(largest, 1))
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="#0969da" fill-opacity="0.7">'
                         f"<title>{count} cases: said {said:.0%}, right {right:.0%}</title></circle>")  # fmt: skip
            parts.append(f'<text x="{x + radius + 3:.1f}" y="{y + 4:.1f}">{count}</text>')
    parts.append(f'<text x="{left}" y="{top + size + 36}">probability of the first story (across), how often it was '
                 "right (up)</text>")  # fmt: skip
    error = _calibration_error(results, TEMPERATURE)
    return _svg(420, 410, f"Said and right: expected calibration error {error:.3f}", parts)


if __name__ == "__main__":
    main()
