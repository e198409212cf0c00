"""Exports a trained network to SavedModel, LiteRT and ONNX; all run without this library (docs/export.md).

python -m examples.export_all --model X.keras --output DIR [--num-steps 25] [--batch-size 1] [--overwrite]
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
from pathlib import Path

import keras

import keras_spiking_bp as ksbp
from keras_spiking_bp.export.atomic import written_whole
from keras_spiking_bp.export.network import Network

SUFFIXES = (".tflite", ".onnx")


def export_all(
    model: keras.Model, folder: Path, num_steps: int | None = None, batch_size: int = 1, overwrite: bool = False
) -> list[Path]:
    """Writes the files and returns their paths. `num_steps` (None: the model's) and `batch_size` are for LiteRT."""
    network = Network(model)  # fail before the first file
    network.check_float32("LiteRT and ONNX")
    if network.num_steps is None and num_steps is None:
        raise ValueError("`num_steps` must be given for a model that takes any number of time steps: LiteRT needs it")
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as all_or_none:  # not files of two networks, where a format refuses this one
        files = []

        def new(name: str) -> Path:
            files.append(folder / name)
            return all_or_none.enter_context(written_whole(files[-1], overwrite, folder=name == "saved_model"))

        ksbp.export.export_saved_model(model, new("saved_model"))
        for form, steps in (("window", num_steps), ("step", None)):
            for weights in ("float32", "int8"):
                path = new(f"{form}_{weights}.tflite")
                ksbp.export.export_litert(model, path, form, num_steps=steps, batch_size=batch_size, weights=weights)
        ksbp.export.export_onnx(model, new("step.onnx"))
    return files


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a .keras file")
    parser.add_argument("--output", type=Path, required=True, help="folder for the files")
    parser.add_argument("--num-steps", type=int, help="LiteRT window's time steps (default: the model's)")
    parser.add_argument("--batch-size", type=int, default=1, help="LiteRT batch size")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    args = parser.parse_args(arguments)
    if importlib.util.find_spec("tf2onnx") is None:  # fail before the first file, not after the fifth
        parser.error("the ONNX file needs tf2onnx: pip install 'keras-spiking-bp[export]'")
    there = sorted(path.name for path in args.output.glob("*") if path.name == "saved_model" or path.suffix in SUFFIXES)
    if there and not args.overwrite:
        parser.error(f"{args.output} has {', '.join(there)} already. Give another folder, or --overwrite")
    model = keras.models.load_model(args.model)
    for path in export_all(model, args.output, args.num_steps, args.batch_size, args.overwrite):
        print(f"{path}  {size(path) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
