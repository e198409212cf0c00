"""Builds the pages on which spiking networks recognise drawn and spoken digits, step by step, in the browser.

python -m docs.watch --output FOLDER [--home URL]

Writes the networks that come with the package as C, compiles them to WebAssembly (with the Clang of the package
ziglang), and describes them in JSON. To look at the pages: python -m http.server --directory FOLDER
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import keras

import keras_spiking_bp as ksbp
from docs.watch.description import description
from docs.watch.speech import PATH as RECORDINGS
from docs.watch.speech import features

HERE = Path(__file__).parent
COMPILER = (sys.executable, "-m", "ziglang", "cc", "--target=wasm32-freestanding", "-O2")
LINKER = ("-nostdlib", "-Wl,--no-entry", "-s")


def build(folder: Path, home: str | None = None) -> None:
    """Writes the pages into `folder`; `home` is where their link to the library leads."""
    shutil.copytree(HERE / "page", folder, dirs_exist_ok=True)
    steps = ksbp.models.model_card("mnist")["recipe"]["num_steps"]
    digits = {"test_set": json.loads((HERE / "from_test_set.json").read_text())}
    speech = {"features": features(), **json.loads(RECORDINGS.read_text())}
    pages = {  # the first in float32 would be 2 MB
        "network": (ksbp.models.load_pretrained("mnist", num_steps=steps), "int8", digits),
        "speech": (ksbp.models.load_pretrained("spoken_digits"), "float32", speech),
    }
    for name, (model, weights, more) in pages.items():
        compile_network(model, weights, folder / f"{name}.wasm")
        about = {**description(model), "home": home, **more}
        (folder / f"{name}.json").write_text(json.dumps(about))


def compile_network(model: keras.Model, weights: str, path: Path) -> None:
    """Writes a network as WebAssembly, with what browser.c exports."""
    with tempfile.TemporaryDirectory() as folder:
        c = Path(folder) / "c"
        ksbp.export.export_c(model, c, weights)
        files = [c / "network.c", c / "weights.c", HERE / "browser.c"]
        subprocess.run([*COMPILER, f"-I{c}", *files, *LINKER, "-o", path], check=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the page")
    parser.add_argument("--home", help="where the link to the library leads, from the page")
    args = parser.parse_args(arguments)
    args.output.mkdir(parents=True, exist_ok=True)
    build(args.output, args.home)
    print(f"page: {args.output / 'index.html'}")


if __name__ == "__main__":
    main()
