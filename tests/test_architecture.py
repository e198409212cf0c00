"""docs/architecture.md lists every module, and imports go in the direction that it says."""

import ast
import graphlib
import re

from tests.pages import ROOT

PACKAGE = ROOT / "keras_spiking_bp"


def levels():
    """{module or subpackage: number of its block on the page, from the top}."""
    page = (ROOT / "docs/architecture.md").read_text()
    rooms = re.search(r"## Rooms\n(.*?)\n## ", page, re.DOTALL)[1]
    found = {}
    for number, block in enumerate(rooms.split("      |\n")):
        for line in block.splitlines():
            names = re.match(r"    (\S+(?:,? .*?)?)(?:  |$)", line)
            if names:
                found |= dict.fromkeys(re.findall(r"(\w+)(?:\.py|/)", names[1]), number)
    return found


def imports():
    """{module or subpackage: those of the package that it imports}."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "keras_spiking_bp":
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module.split(".")[1]] if (node.module or "").startswith("keras_spiking_bp.") else []
            elif isinstance(node, ast.Import):
                modules = [
                    alias.name.split(".")[1] for alias in node.names if alias.name.startswith("keras_spiking_bp.")
                ]
            else:
                continue
            found.setdefault(room, set()).update(modules)
    return {room: modules - {room} for room, modules in found.items() if room != "__init__"}


def test_every_module_has_its_place():
    modules = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert levels().keys() == {name for name in modules if not name.startswith("_")}


def test_imports_go_downwards():
    level, edges = levels(), imports()
    assert len(edges) > 25 and max(level.values()) == 8
    upwards = [(room, other) for room, others in edges.items() for other in others if level[other] < level[room]]
    assert not upwards
    list(graphlib.TopologicalSorter(edges).static_order())  # a CycleError names what imports each other


def test_custom_derivatives_have_one_home():
    assert [path.name for path in PACKAGE.rglob("*.py") if "tf.custom_gradient" in path.read_text()] == ["gradients.py"]
