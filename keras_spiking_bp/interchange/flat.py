"""Graphs of NIR inside of graphs, taken apart."""

from __future__ import annotations

from typing import Any


def flat(graph: Any) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The nodes and edges of a graph in which no node is a graph: those of an inner one have the names `outer.inner`.

    What leads to a graph leads to what is behind its input, and what is before its output leads to where it leads.

    Raises:
        ValueError: if an inner graph has not one input and one output.
    """
    nodes, edges = dict(graph.nodes), [(str(a), str(b)) for a, b in graph.edges]
    for name, node in graph.nodes.items():
        if not hasattr(node, "nodes"):
            continue
        del nodes[name]
        inner, between = flat(node)
        ends = {}
        for kind in ("Input", "Output"):
            found = [part for part, of in inner.items() if type(of).__name__ == kind]
            if len(found) != 1:
                raise ValueError(f"The graph {name!r} in `graph` must have one {kind} node. Received: {found}")
            ends[kind] = f"{name}.{found[0]}"
        renamed = [(f"{name}.{a}", f"{name}.{b}") for a, b in between]
        nodes |= {f"{name}.{part}": of for part, of in inner.items() if f"{name}.{part}" not in ends.values()}
        first = [b for a, b in renamed if a == ends["Input"]]
        last = [a for a, b in renamed if b == ends["Output"]]
        edges = [
            *[(a, b) for a, b in edges if name not in (a, b)],
            *[(a, b) for a, end in edges if end == name for b in first],
            *[(a, b) for start, b in edges if start == name for a in last],
            *[(a, b) for a, b in renamed if a != ends["Input"] and b != ends["Output"]],
        ]
    return nodes, edges
