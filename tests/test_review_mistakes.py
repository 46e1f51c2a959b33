"""Known mistakes of real configurations are found, by a rule that was named for them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import cast

import pytest

from levelhead.review import EVERY, judged
from levelhead.review.base import Facts, Language
from levelhead.review.languages import config_of
from tests.engines.corpus import CORPUS

MISTAKES = CORPUS / "mistakes"
# What no file can hold, as somebody would declare it: memory and processors of the containers, from the compose files
# beside the configurations, and requests at a time: the logs beside them say that 1,024 connections were not enough.
CONTEST = Facts(peak_in_flight=600, cores=1)
FACTS = {
    "rinha2024-danilosiqueira": CONTEST,
    "rinha2024-mourishitz-nest-js": CONTEST,
    "rinha2024-rud-nodejs": CONTEST,
    "rinha2024-yanpgabriel": CONTEST,
    "rinha2024-hendrikaraujo": Facts(memory_mib=30),
}
# The file does not say that WebSockets go there.
NOT_SEEN = {"hap-websocket-50s-no-tunnel-neko"}


@dataclass(frozen=True)
class Mistake:
    """One configuration with what is known to be wrong with it."""

    name: str
    language: Language
    file: str
    text: str
    rules: frozenset[str]


def mistakes() -> list[Mistake]:
    found = []
    for meta in sorted(MISTAKES.glob("*/meta.json")):
        told = json.loads(meta.read_text())
        text = (meta.parent / told["config"]).read_text(errors="surrogateescape")
        # What the engine itself refuses is told as that.
        rules = frozenset("LH000" if rule == "invalid" else rule for rule in told["rules"])
        if rules and told["split"] == "development":
            found.append(Mistake(meta.parent.name, cast(Language, told["engine"]), told["config"], text, rules))
    return found


@pytest.mark.skipif(not MISTAKES.exists(), reason=f"no known mistakes at {MISTAKES}")
def test_known_mistakes_are_found() -> None:
    known = mistakes()
    missed = {m.name for m in known if not hits(m)}

    assert missed == NOT_SEEN
    assert len(missed) / len(known) <= 0.05


def hits(mistake: Mistake) -> set[str]:
    facts = FACTS.get(mistake.name, Facts())
    config = config_of({mistake.file: mistake.text}, mistake.file, mistake.language, facts=facts)
    return {finding.code for finding in judged(config, EVERY).kept} & mistake.rules
