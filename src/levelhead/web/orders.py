"""What the API takes: orders of people, as models that refuse what they do not know. Light, for clients too."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

MOST_SOURCE: Final = 4 * 1024 * 1024
# What Levelhead signs its own deeds with; no person may.
_OWN_NAME: Final = "levelhead"


def _shown(text: str) -> str:
    """Text that is safe to show in a terminal: no control characters but line ends and tabs."""
    if any(not (c.isprintable() or c in "\n\t") for c in text):
        raise ValueError("must not hold control characters")
    return text


def _person(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("must be a name in one line")
    if text.strip().lower() == _OWN_NAME:
        raise ValueError("is Levelhead's own name; orders are people's")
    return text.strip()


def _sentence(text: str) -> str:
    return " ".join(_shown(text).split())


def _said(text: str) -> str:
    if not _shown(text).strip():
        raise ValueError("must not be empty")
    return text.strip()


Sentence = Annotated[str, AfterValidator(_sentence), Field(max_length=1000)]


class Ordered(BaseModel):
    """Who orders, why, and, to pass over the guard's objections, with which reason.

    `who` is what the client says: nobody checks it, but only the plane's own user can open the socket.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    who: Annotated[str, AfterValidator(_person), Field(max_length=200)]
    why: Sentence = ""
    force: Sentence = ""


class ServerOrder(Ordered):
    """Drain a server, take it out (maint), put it back (ready), or give it a weight."""

    pool: Annotated[str, Field(max_length=200)]
    server: Annotated[str, Field(max_length=200)]
    do: Literal["drain", "ready", "maint", "weight"]
    weight: Annotated[float, Field(ge=0, le=10000, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _weight_where_it_belongs(self) -> ServerOrder:
        if (self.do == "weight") != (self.weight is not None):
            raise ValueError("weight is given with do: weight, and only then")
        return self


class ConfigOrder(Ordered):
    """Ship this text of a levelhead.yaml. `file` names it in errors; paths in it are relative to `folder`."""

    source: Annotated[str, Field(max_length=MOST_SOURCE)]
    file: Annotated[str, Field(max_length=4096)] = "levelhead.yaml"
    folder: Annotated[str, Field(max_length=4096)] = ""


class RollbackOrder(Ordered):
    """Return to revision `to`; without it, to the last one that is known to have served well."""

    to: Annotated[int, Field(ge=1, le=2**53)] | None = None


class IncidentOrder(Ordered):
    """Acknowledge an incident, or approve the plan that waits for a person."""


class NoteOrder(Ordered):
    """Write a line into an incident."""

    text: Annotated[str, AfterValidator(_said), Field(max_length=4000)]


class ResolveOrder(Ordered):
    """Close an incident, with what ended it."""

    text: Annotated[str, AfterValidator(_shown), Field(max_length=4000)] = ""
