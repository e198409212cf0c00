"""Builds the pages on which spiking networks recognise drawn and spoken digits, step by step, in the browser.

python -m docs.watch --output FOLDER [--home URL]

Exports the networks that come with the package as one step of ONNX, describes them in JSON, and puts onnxruntime-web
beside them (from npm, in the version of package-lock.json), so that the pages load nothing from elsewhere. Without npm
they are built without that runtime, and say so. To look at it: python -m http.server --directory FOLDER
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import keras_spiking_bp as ksbp
from docs.watch.description import description
from docs.watch.speech import PATH as RECORDINGS
from docs.watch.speech import features

HERE = Path(__file__).parent
#: Of onnxruntime-web: the module with the WebAssembly backend alone, and its code.
RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")


def build(folder: Path, home: str | None = None) -> None:
    """Writes the pages into `folder`; `home` is where their link to the library leads."""
    shutil.copytree(HERE / "page", folder, dirs_exist_ok=True)
    missing = add_runtime(folder / "runtime")
    if missing:
        print(f"left out: onnxruntime-web, without which the page cannot run ({missing})")
    sizes = {path.name: path.stat().st_size for path in (folder / "runtime").glob("*.wasm")}
    steps = ksbp.models.model_card("mnist")["recipe"]["num_steps"]
    digits = {"test_set": json.loads((HERE / "from_test_set.json").read_text())}
    speech = {"features": features(), **json.loads(RECORDINGS.read_text())}
    pages = {
        "network": ("step.onnx", ksbp.models.load_pretrained("mnist", num_steps=steps), digits),
        "speech": ("speech.onnx", ksbp.models.load_pretrained("spoken_digits"), speech),
    }
    for name, (file, model, more) in pages.items():
        ksbp.export.export_onnx(model, folder / file, overwrite=True, spikes=True)
        about = {**description(model), "model": file, "runtime_missing": missing, "home": home, **more}
        about["bytes"] = {file: (folder / file).stat().st_size, **sizes}
        (folder / f"{name}.json").write_text(json.dumps(about))


def add_runtime(folder: Path) -> str | None:
    """Puts the files of onnxruntime-web into `folder`; what hindered it, or None."""
    for name in RUNTIME:  # of another version
        (folder / name).unlink(missing_ok=True)
    npm = shutil.which("npm")
    if npm is None:
        return "npm is not installed"
    package = HERE / "node_modules" / "onnxruntime-web"
    if version_of(package) != json.loads((HERE / "package.json").read_text())["dependencies"]["onnxruntime-web"]:
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
        if done.returncode:
            print(done.stderr)
            return f"npm ci failed with status {done.returncode}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in RUNTIME:
        shutil.copy(package / "dist" / name, folder)
    return None


def version_of(package: Path) -> str | None:
    """The version of an npm package that is installed."""
    about = package / "package.json"
    return json.loads(about.read_text())["version"] if about.exists() else None


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the page")
    parser.add_argument("--home", help="where the link to the library leads, from the page")
    args = parser.parse_args(arguments)
    if importlib.util.find_spec("tf2onnx") is None:
        parser.error("the ONNX file needs tf2onnx: pip install 'keras-spiking-bp[export]'")
    args.output.mkdir(parents=True, exist_ok=True)
    build(args.output, args.home)
    print(f"page: {args.output / 'index.html'}")


if __name__ == "__main__":
    main()
