"""How fast the nginx and Envoy readers are, and whether anything at all makes them fail or take long.

    nice -n 19 .venv/bin/python -m bench.readers [--count 30000] [--seed 1]

Every configuration of the corpus beside the repository (or generated ones, where there is none) is read; then as many
spoiled ones as asked for: cut off, with bits flipped, glued together, or much of one thing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Final

from tests import envoy_configs, nginx_configs
from tests.engines.corpus import CORPUS, samples
from tests.engines.test_reader_fuzz import spoil

from levelhead.engines.envoy import reading as envoy
from levelhead.engines.nginx import reading as nginx
from levelhead.errors import ConfigError

LONGEST_S: Final = 5.0
PIECES: Final = (
    "a {", "a;", "}", '"', "'", "$", "\\", "#\n", "x ", "{{", "upstream u { server a; }", "location / {}",
    "set $a $a$a;",
    "[", "{", "a: ", "- ", "- a\n", "&a ", "*a ", "|\n", "? ", "- {name: a}\n", "\t", "\x00", "---\n",
)  # fmt: skip
Read = Callable[[str], object]


def read_nginx(text: str) -> object:
    return nginx.read({"nginx.conf": text}, "nginx.conf")


def read_envoy(text: str) -> object:
    return envoy.read({"envoy.yaml": text}, "envoy.yaml")


def texts(engine: str) -> list[str]:
    if (CORPUS / "configs").exists():
        return [s.text for s in samples(engine)]
    random = Random(1)
    if engine == "nginx":
        return [text for _ in range(200) for text in nginx_configs.generate(random).files.values()]
    return [envoy_configs.generate(random).text for _ in range(100)]


def spoiled(originals: list[str], count: int, random: Random) -> Iterator[str]:
    data = [text.encode("utf-8", "surrogateescape") for text in originals]
    for number in range(count):
        if number % 100 == 0:
            piece = random.choice(PIECES)
            yield random.choice(("", "http { server {", "static_resources:\n")) + piece * (100_000 // len(piece))
        else:
            yield spoil(random.choice(data), random.choice(data), random)


def outcome(read: Read, text: str) -> tuple[bool, float]:
    """Whether it was read, and the processor time it took. Any exception but ConfigError ends the run."""
    began = time.process_time()
    try:
        read(text)
    except ConfigError as error:
        if not (error.line and error.column):
            raise SystemExit(f"an error without a place: {error}") from error
        return False, time.process_time() - began
    return True, time.process_time() - began


def run(engine: str, read: Read, count: int, seed: int) -> None:
    originals = texts(engine)
    outcome(read, originals[0])  # The tables are built at the first reading.
    whole = [outcome(read, text) for text in originals]
    took = sum(seconds for _, seconds in whole)
    size = sum(map(len, originals))
    print(f"{engine:<6} {len(whole)} files, {sum(good for good, _ in whole)} read: {len(whole) / took:.0f} files/s, "
          f"{size / took / 1e6:.2f} MB/s, slowest {max(s for _, s in whole) * 1e3:.0f} ms")  # fmt: skip
    broken = [outcome(read, text) for text in spoiled(originals, count, Random(seed))]
    slowest = max(seconds for _, seconds in broken)
    print(f"{engine:<6} {len(broken)} spoiled, {sum(not good for good, _ in broken)} refused, the others read; "
          f"slowest {slowest * 1e3:.0f} ms")  # fmt: skip
    if slowest > LONGEST_S:
        raise SystemExit(f"{engine}: {slowest:.1f} s is too long")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--count", type=int, default=30_000, help="spoiled texts in all")
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    run("nginx", read_nginx, chosen.count * 2 // 3, chosen.seed)
    run("envoy", read_envoy, chosen.count - chosen.count * 2 // 3, chosen.seed)


if __name__ == "__main__":
    main()
