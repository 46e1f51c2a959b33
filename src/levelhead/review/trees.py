"""The mappings in the text of an Envoy configuration, for what its picture leaves out."""

from __future__ import annotations

from collections.abc import Iterator

from levelhead import nodes


def mappings(roots: tuple[nodes.Node, ...]) -> Iterator[nodes.Mapping]:
    """Every mapping of the files, in no order that matters."""
    waiting: list[nodes.Node] = list(roots)
    while waiting:
        node = waiting.pop()
        if isinstance(node, nodes.Mapping):
            yield node
            waiting += [entry.value for entry in node.entries.values()]
        elif isinstance(node, nodes.Sequence):
            waiting += node.items
