"""Flattens nested NIR graphs."""

from __future__ import annotations

from typing import Any


def flat(graph: Any) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The nodes and edges of a graph with nested graphs flattened: inner nodes have the names `outer.inner`.

    Edges to a graph then lead to what follows its input; edges to its output lead to what follows the graph.

    Raises:
        ValueError: if an inner graph lacks one input and one output, or two nodes would have the same name.
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
        added = {f"{name}.{part}": of for part, of in inner.items()}
        taken = sorted(set(added) & set(nodes))
        if taken:
            raise ValueError(f"`graph` has the nodes {taken} twice: in its graph {name!r}, and beside it")
        nodes |= added
        edges = [
            *[(ends["Output"] if a == name else a, ends["Input"] if b == name else b) for a, b in edges],
            *[(f"{name}.{a}", f"{name}.{b}") for a, b in between],
        ]
        for end in ends.values():  # connect sources to followers
            sources, followers = ([a for a, b in edges if b == end], [b for a, b in edges if a == end])
            edges = [edge for edge in edges if end not in edge] + [(a, b) for a in sources for b in followers]
            del nodes[end]
    return nodes, edges
