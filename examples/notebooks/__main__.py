"""Runs the notebooks anew: writes each `.ipynb`, with its outputs, from the `.py` of the same name.

python -m examples.notebooks [1_first_network ...]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent


def write(source: Path) -> Path:
    """Executes the cells of `source` in an empty folder and writes them with what they print and draw."""
    notebook = jupytext.read(source)
    notebook.metadata = {
        "jupytext": {"formats": "ipynb,py:percent"},
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    }
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=1200, kernel_name="python3", resources={"metadata": {"path": folder}})
        client.execute()
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i}"  # random ones would make every diff long
        cell.metadata = {}
        cell.source = cell.source.strip()
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_log(output)]
    notebook.metadata.pop("language_info", None)
    path = source.with_suffix(".ipynb")
    nbformat.write(notebook, path)
    return path


def _is_log(output: nbformat.NotebookNode) -> bool:
    return output.get("name") == "stderr" or output.get("text", "").startswith(
        ("WARNING:tensorflow:", "INFO:tensorflow:")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="without .py; all if none is given")
    args = parser.parse_args()
    sources = [FOLDER / f"{name}.py" for name in args.names] or sorted(FOLDER.glob("[0-9]*.py"))
    for source in sources:
        start = time.monotonic()
        path = write(source)
        print(f"{path.name}: {time.monotonic() - start:.0f} s, {path.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
