"""The notebooks run, on fewer digits and sounds; each `.ipynb` has the cells of its `.py`, executed, and is small."""

import json
import re
from pathlib import Path

import pytest

import keras_spiking_bp as ksbp

FOLDER = Path(__file__).parent.parent / "examples" / "notebooks"
SOURCES = sorted(FOLDER.glob("[0-9]*.py"))


def cells_of(source: Path) -> list[tuple[str, str]]:
    """The cells of a `.py` file in jupytext's percent format: (kind, text)."""
    cells = []
    for header, body in re.findall(r"^# %%(.*)\n((?:(?!# %%).*\n?)*)", source.read_text(), re.MULTILINE):
        kind = "markdown" if "[markdown]" in header else "code"
        if kind == "markdown":
            body = re.sub(r"^# ?", "", body, flags=re.MULTILINE)
        cells.append((kind, body.strip()))
    return cells


def notebook_of(source: Path) -> dict:
    return json.loads(source.with_suffix(".ipynb").read_text())


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_is_its_source(source):
    cells = [(cell["cell_type"], "".join(cell["source"]).strip()) for cell in notebook_of(source)["cells"]]
    assert cells == cells_of(source), "make notebooks"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_is_executed_and_small(source):
    assert source.with_suffix(".ipynb").stat().st_size < 300_000
    code = [cell for cell in notebook_of(source)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_links(source):
    text = "\n".join(text for kind, text in cells_of(source) if kind == "markdown")
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (FOLDER / target).exists(), target


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_runs(source, few_digits, few_recordings, monkeypatch, tmp_path):
    matplotlib = pytest.importorskip("matplotlib", reason="needs pip install 'keras-spiking-bp[data]'")
    if "ai_edge_litert" in source.read_text():
        pytest.importorskip("ai_edge_litert", reason="needs pip install 'keras-spiking-bp[export]'")
    matplotlib.use("agg")

    def no_images(name, download):
        raise FileNotFoundError(name)

    monkeypatch.setattr(ksbp.datasets, "load_images", no_images)
    monkeypatch.chdir(tmp_path)
    import matplotlib.pyplot as plt

    shown = []

    def show():
        axes = plt.gcf().axes
        shown.append(any(axis.get_xlabel() or axis.images for axis in axes))
        plt.close("all")

    monkeypatch.setattr(plt, "show", show)
    with plt.rc_context():
        exec(compile(source.read_text(), source.name, "exec"), {})
    assert shown and all(shown)
