"""Facts for a review from the settings of a levelhead.yaml."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from levelhead.model import Fleet
from levelhead.review.base import Facts

if TYPE_CHECKING:
    from levelhead.settings import FactsModel  # It takes long to load, and only levelhead.yaml needs it.


def facts_of(given: FactsModel) -> Facts:
    """The facts as they were written."""
    return Facts(**given.model_dump())


def declared(facts: Facts, fleet: Fleet) -> Facts:
    """The same with the capacities that the servers of this fleet declare; a fact goes before them."""
    capacity = {
        f"{pool.name}/{server.name}": server.capacity
        for pool in fleet.pools
        for server in pool.servers
        if server.capacity is not None
    }
    return replace(facts, capacity_rps={**capacity, **facts.capacity_rps})
