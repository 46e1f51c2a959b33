"""The mappings in the text of an Envoy configuration, for what its picture leaves out."""

from __future__ import annotations

from collections.abc import Iterator

from levelhead.engines.envoy import syntax


def mappings(roots: tuple[syntax.Node, ...]) -> Iterator[syntax.Mapping]:
    """Every mapping of the files, in no order that matters."""
    waiting: list[syntax.Node] = list(roots)
    while waiting:
        node = waiting.pop()
        if isinstance(node, syntax.Mapping):
            yield node
            waiting += [entry.value for entry in node.entries]
        elif isinstance(node, syntax.Sequence):
            waiting += node.items
