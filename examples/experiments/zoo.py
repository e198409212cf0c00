"""The packaged networks in each file format that they can be exported to: size, accuracy, time of an inference.

python -m examples.experiments.zoo --data-dir FOLDER [--formats LiteRT ONNX] [--output docs/zoo.json]

All formats get the same input spikes (a constant current for CIFAR-10). The time is the processor time of all steps of
one image, with one thread, without its encoder: the median of the first 200 images. What was measured is not measured
again. `python -m docs.build.zoo_page` writes the page.
"""

from __future__ import annotations

import argparse
import functools
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import keras
import nir
import numpy as np
import onnxruntime
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import keras_spiking_bp as ksbp
from examples.experiments.machine import machine
from examples.experiments.pretrained import images_of
from examples.experiments.report import command, wilson_interval, write
from keras_spiking_bp.rnn.spiking_model import spiking_layer

TIMED = 200  # images
#: Spikes (B, T, ...) -> outputs (B, classes).
Classifier = Callable[[np.ndarray], np.ndarray]


def compiled(layer: Callable) -> Classifier:
    """A Keras layer or model, as one graph."""
    call = tf.function(layer)
    return lambda spikes: call(tf.constant(spikes)).numpy()


def in_keras(model: keras.Model, path: Path) -> Classifier:
    model.save(path)
    return compiled(spiking_layer(keras.models.load_model(path)))


def in_saved_model(model: keras.Model, path: Path) -> Classifier:
    ksbp.export.export_saved_model(model, path)
    loaded = tf.saved_model.load(path)
    run = loaded.signatures["spikes"]
    return lambda spikes, keeps=loaded: run(spikes=tf.constant(spikes))["outputs"].numpy()


def stepwise(step: Callable[[dict], dict], start: dict[str, np.ndarray], spikes: np.ndarray) -> np.ndarray:
    """The outputs after all steps, of a file that computes one: their states are `start` before it."""
    state = start
    for t in range(spikes.shape[1]):
        state = step({"spikes": spikes[:, t], **state})
        outputs = state.pop("outputs")
    return outputs


def in_litert(model: keras.Model, path: Path, weights: str) -> Classifier:
    ksbp.export.export_litert(model, path, "step", weights=weights)
    run = Interpreter(str(path), num_threads=1).get_signature_runner("step")
    start = {name: np.zeros(of["shape"], "float32") for name, of in run.get_input_details().items() if name != "spikes"}
    return lambda spikes: np.concatenate([stepwise(lambda x: run(**x), start, one[None]) for one in spikes])


def in_onnx(model: keras.Model, path: Path) -> Classifier:
    ksbp.export.export_onnx(model, path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options)
    shapes = {tensor.name: tensor.shape[1:] for tensor in session.get_inputs()[1:]}

    def step(inputs: dict) -> dict:
        return dict(zip(("outputs", *shapes), session.run(None, inputs), strict=True))

    def run(spikes: np.ndarray) -> np.ndarray:
        return stepwise(step, {n: np.zeros((len(spikes), *shape), "float32") for n, shape in shapes.items()}, spikes)

    return run


def in_nir(model: keras.Model, path: Path) -> Classifier:
    nir.write(path, ksbp.to_nir(model))
    return compiled(ksbp.from_nir(nir.read(path)))


FORMATS: dict[str, tuple[str, Callable[[keras.Model, Path], Classifier]]] = {
    "LiteRT": ("float.tflite", functools.partial(in_litert, weights="float32")),
    "LiteRT, 8-bit weights": ("int8.tflite", functools.partial(in_litert, weights="int8")),
    "ONNX": ("step.onnx", in_onnx),
    "SavedModel": ("saved_model", in_saved_model),
    "NIR, read by this library": ("network.nir", in_nir),
    "Keras": ("network.keras", in_keras),
}


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")))


def built(dataset: str) -> keras.Model:
    """The packaged network, with the number of steps of its training."""
    steps = ksbp.models.model_card(dataset)["recipe"]["num_steps"]
    return ksbp.models.load_pretrained(dataset, steps, seed=0)


def measured(dataset: str, name: str, data: ksbp.datasets.ImageSet) -> dict:
    """One format of one network: a row of the report."""
    model = built(dataset)
    encoder = next(layer for layer in model.layers if isinstance(layer, ksbp.PoissonEncoder | ksbp.ConstantEncoder))
    row = {"dataset": dataset, "num_steps": encoder.num_steps, "format": name}
    file, start = FORMATS[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / file
        try:
            classify = start(model, path)
        except ValueError as error:
            return {**row, "refused": str(error)}
        right, times = [], []
        for images, labels in data.test_batches(100):
            spikes = np.asarray(encoder(images), "float32")
            for one in spikes[: max(TIMED - len(right), 0)]:
                begin = time.process_time()
                classify(one[None])
                times.append(1e3 * (time.process_time() - begin))
            right += list(classify(spikes).argmax(-1) == np.asarray(labels).argmax(-1))
        return {
            **row,
            "bytes": size(path),
            "accuracy": float(np.mean(right)),
            "interval_95": wilson_interval(float(np.mean(right)), len(right)),
            "samples": len(right),
            "ms": [round(float(of), 3) for of in np.percentile(times, [10, 50, 90])],
            "timed": len(times),
        }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder of prepared data")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--output", type=Path, default=Path("docs/zoo.json"))
    args = parser.parse_args(arguments)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    rows = json.loads(args.output.read_text()) if args.output.exists() else []
    how = {"command": command(arguments, "examples.experiments.zoo"), "machine": machine()}
    for dataset in ("cifar10", "mnist"):
        data = images_of(dataset, args.data_dir)
        for name in args.formats:
            if (dataset, name) in {(row["dataset"], row["format"]) for row in rows}:
                continue
            rows.append(measured(dataset, name, data) | how)
            print(rows[-1], flush=True)
            write(args.output, rows)


if __name__ == "__main__":
    main()
