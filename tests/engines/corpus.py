"""Real configurations to read, kept beside the repository; tests skip where they are absent."""

import csv
from dataclasses import dataclass
from pathlib import Path

import pytest

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpus"


@dataclass(frozen=True)
class Sample:
    """One real file, its text (bytes that are not UTF-8 kept), and what its engine said of it."""

    name: str
    text: str
    verdict: str
    servers: int
    context: str


def samples(engine: str) -> tuple[Sample, ...]:
    """All files of an engine; skips the test where there are none."""
    index = CORPUS / "configs" / "index.csv"
    if not index.exists():
        pytest.skip(f"no corpus of real configurations at {CORPUS}")
    with index.open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["engine"] == engine]
    return tuple(
        Sample(
            row["file"],
            (CORPUS / "configs" / row["file"]).read_bytes().decode("utf-8", "surrogateescape"),
            row["engine_check"],
            int(row["max_servers_in_group"] or 0),
            row["nginx_context"],
        )
        for row in rows
    )


def mistakes(engine: str) -> tuple[Sample, ...]:
    """The configurations with one known mistake each."""
    folder = CORPUS / "mistakes"
    if not folder.exists():
        pytest.skip(f"no corpus of real mistakes at {CORPUS}")
    names = {"nginx": "ngx-*/nginx.conf", "envoy": "env-*/envoy.yaml"}
    return tuple(
        Sample(str(path.relative_to(CORPUS)), path.read_text(), "", 0, "")
        for path in sorted(folder.glob(names[engine]))
    )
