"""What people are asked reaches them once: one notice for one question, also when the control plane starts anew."""

from __future__ import annotations

import pytest

from levelhead import control
from levelhead.control.base import Tell
from levelhead.drills.base import Scenario
from levelhead.drills.rehearse import TICK_S, Rehearsing
from levelhead.drills.score import Mode
from levelhead.drills.text import parse_scenario
from levelhead.lab.library import scenarios

ALL = {name: parse_scenario(text, name) for name, text in scenarios().items()}

# Drills in which people are asked something, with how the question begins.
ASKED = (("march-10", "ask", "may I roll back"), ("slow-server", "ask", "may I drain server-3"),
         ("failing-server", "ask", "may I drain"), ("server-down", "act", "is server-"))  # fmt: skip


class Heard(Rehearsing):
    """A rehearsal that keeps what people are told, tick by tick."""

    def __init__(self, scenario: Scenario, mode: Mode) -> None:
        super().__init__(scenario, mode, scenario.seed)
        self.told: list[tuple[Tell, ...]] = []
        self.at = 0.0

    def on(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK_S)):
            self.at += TICK_S
            known = len(self.effects)
            self.tick(self.at)
            self.told.append(tuple(e for e in self.effects[known:] if isinstance(e, Tell)))

    def notices(self, question: str) -> list[str]:
        return [tell.text for tick in self.told for tell in tick if question in tell.text]


@pytest.mark.parametrize(("drill", "mode", "question"), ASKED)
def test_a_question_is_one_notice(drill: str, mode: Mode, question: str) -> None:
    heard = Heard(ALL[drill], mode)
    heard.on(ALL[drill].duration_s)

    assert len(heard.notices(question)) == 1


@pytest.mark.parametrize(("drill", "mode", "question"), ASKED)
def test_a_control_plane_that_starts_anew_does_not_ask_again(drill: str, mode: Mode, question: str) -> None:
    heard = Heard(ALL[drill], mode)
    while not heard.notices(question):
        heard.on(TICK_S)
    heard.told.clear()
    heard.state = control.begin(tuple(heard.incidents.values()), heard.state.good, heard.state.next_incident)
    heard.on(5.0)

    assert heard.state.pool("web").incident is not None, "the trouble went on"
    assert heard.notices(question) == []


def test_another_server_is_another_question() -> None:
    """Nobody approves; server-3 gets well by itself, and before the incident is closed server-1 falls ill."""
    drill = ALL["slow-server"]
    first = drill.events[0]
    assert first.server is not None
    ill = first.server.model_copy(update={"name": "server-1"})
    events = (
        first.model_copy(update={"until_s": 24.0}), first.model_copy(update={"at_s": 28.0, "server": ill}),
    )  # fmt: skip
    heard = Heard(drill.model_copy(update={"events": events}), "ask")
    heard.on(40.0)

    assert len(heard.incidents) == 1
    assert len(heard.notices("may I drain server-3")) == 1
    assert len(heard.notices("may I drain server-1")) == 1
