"""The mappings in the text of an Envoy configuration, for what its picture leaves out."""

from __future__ import annotations

from collections.abc import Iterator

from levelhead.engines.envoy.syntax import Mapping, Node, Sequence


def mappings(roots: tuple[Node, ...]) -> Iterator[Mapping]:
    """Every mapping of the files, in no order that matters."""
    waiting: list[Node] = list(roots)
    while waiting:
        node = waiting.pop()
        if isinstance(node, Mapping):
            yield node
            waiting += [entry.value for entry in node.entries]
        elif isinstance(node, Sequence):
            waiting += node.items
