"""How fast the reader is on real files, and whether any spoiled file breaks it: `bench/haproxy_reader.py 30000`."""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.engines.haproxy.samples import files
from tests.engines.haproxy.test_corpus import spoiled, survives

from levelhead.engines.haproxy.preprocess import Setup
from levelhead.engines.haproxy.reading import read


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("cases", type=int, nargs="?", default=30_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    texts = {row["file"]: text for row, text in files()}
    print(f"{len(texts)} files, {sum(map(len, texts.values()))} characters")
    start = time.process_time()
    for name, text in texts.items():
        read({name: text})
    print(f"{len(texts) / (time.process_time() - start):.0f} files per second of one core")
    chance = random.Random(options.seed)
    choice = list(texts.values())
    slowest = 0.0
    for number in range(options.cases):
        text = chance.choice(choice)
        for _ in range(chance.choice((1, 1, 1, 2, 5))):
            text = spoiled(text, chance)
        before = time.process_time()
        survives(text, Setup(version=chance.choice((None, (2, 6), (2, 8)))))
        slowest = max(slowest, time.process_time() - before)
        if number % 5000 == 4999:
            print(f"{number + 1} spoiled files read, the slowest took {slowest * 1000:.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
