"""docs/architecture.md lists every module of the top level, and imports go in the direction that it says."""

import ast
import graphlib
import re

from keras_spiking_bp.carried import OF_A_WINDOW
from tests.pages import ROOT

PACKAGE = ROOT / "keras_spiking_bp"
#: Modules by their names without that of the package, such as "cells.lif"; subpackages by theirs.
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def levels():
    """{module or subpackage of the top level: number of its block on the page, from the top}."""
    page = (ROOT / "docs/architecture.md").read_text()
    blocks = re.search(r"## Modules\n(.*?)\n## ", page, re.DOTALL)[1]
    found = {}
    for number, block in enumerate(blocks.split("      |\n")):
        for line in block.splitlines():
            if names := re.match(r"    (\S+(?:,? .*?)?)(?:  |$)", line):
                found |= dict.fromkeys(re.findall(r"(\w+)(?:\.py|/)", names[1]), number)
    return found


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


def test_every_module_has_its_place():
    assert levels().keys() == {name.split(".")[0] for name in MODULES if not name.startswith("_")}


def test_imports_go_downwards():
    level = levels()
    edges = {name: set(imports(path)) for name, path in MODULES.items() if not name.startswith("_")}
    assert sum(map(len, edges.values())) > 300 and max(level.values()) == 8
    pairs = [(name, other) for name, others in edges.items() for other in others if not other.startswith("_")]
    assert not [(name, other) for name, other in pairs if level[other.split(".")[0]] < level[name.split(".")[0]]]
    list(graphlib.TopologicalSorter(edges).static_order())  # a CycleError names those that import each other


def test_the_names_within_a_window_are_those_of_the_page():
    table = re.search(r"\| entry \| when.*?\n\n", (ROOT / "docs/architecture.md").read_text(), re.DOTALL)[0]
    named = {name for row in table.strip().splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert named == {*OF_A_WINDOW, "membrane", "current", "fed_back"}


def test_custom_derivatives_have_one_home():
    of_these = {name.split(".")[0] for name, path in MODULES.items() if "tf.custom_gradient" in path.read_text()}
    assert of_these == {"gradients"}
