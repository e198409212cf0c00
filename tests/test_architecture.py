"""docs/architecture.md lists the rooms of the package, and imports go in the direction that it says."""

import ast
import graphlib
import re

from tests.pages import ROOT

PACKAGE = ROOT / "keras_spiking_bp"
#: Modules by their names without that of the package, such as "cells.lif"; subpackages by theirs.
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def rooms():
    """{room: its row in the table of the page}."""
    table = re.search(r"## Rooms\n.*?\n\n## ", (ROOT / "docs/architecture.md").read_text(), re.DOTALL)[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    return {name: number for number, row in enumerate(rows) for name in re.findall(r"`(\w+)`", row)}


def imports(path):
    """The modules of the package that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "keras_spiking_bp":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("keras_spiking_bp.")]
        else:
            continue
        for name in names:
            name = name.removeprefix("keras_spiking_bp.")
            yield name if name in MODULES else name.rpartition(".")[0]


def test_imports_go_to_rooms_above():
    row, edges = rooms(), {name: set(imports(path)) for name, path in MODULES.items() if not name.startswith("_")}
    assert row.keys() == {name.split(".")[0] for name in edges}
    pairs = [(name, other) for name, others in edges.items() for other in others if not other.startswith("_")]
    assert not [(name, other) for name, other in pairs if row[other.split(".")[0]] > row[name.split(".")[0]]]
    list(graphlib.TopologicalSorter(edges).static_order())  # a CycleError names those that import each other


def test_custom_derivatives_have_one_home():
    of_these = {name.split(".")[0] for name, path in MODULES.items() if "tf.custom_gradient" in path.read_text()}
    assert of_these == {"gradients"}
