"""One time step of one sample at a time, as on a device: `python -m benchmarks.streaming`.

Latency of the exported step in each runtime, and file sizes, of the trained networks in the package. Prints one line of
JSON. The step of Keras is that of a stateful `SpikingRNN` in a `tf.function`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from onnxruntime import InferenceSession

import keras_spiking_bp as ksbp
from benchmarks.machine import hide_gpus
from keras_spiking_bp.rnn.spiking_model import spiking_layer

NETWORKS = {
    "LeNet on MNIST": lambda: ksbp.models.load_pretrained("mnist"),
    "VGG9 on CIFAR-10": lambda: ksbp.models.load_pretrained("cifar10"),
}


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")))


def spikes_of(model: keras.Model) -> np.ndarray:
    """The input of one step, (1, ...) float32."""
    layer = spiking_layer(model)
    return (np.random.default_rng(0).random((1, *layer.input.shape[2:])) < 0.2).astype("float32")


def in_keras(model: keras.Model, _: Path) -> Callable[[np.ndarray], object]:
    layer = spiking_layer(model)
    stateful = ksbp.SpikingRNN.from_config({**layer.get_config(), "stateful": True})
    stateful.build((1, 1, *layer.input.shape[2:]))
    stateful.set_weights(layer.get_weights())
    call = tf.function(lambda x: stateful(x[:, None]))
    return lambda x: call(x).numpy()


def in_saved_model(model: keras.Model, path: Path) -> Callable[[np.ndarray], object]:
    ksbp.export.export_saved_model(model, path)
    loaded = tf.saved_model.load(path)
    step, state = loaded.signatures["step"], {}
    for name, spec in step.structured_input_signature[1].items():
        if name != "spikes":
            state[name] = tf.zeros((1, *spec.shape[1:]))

    def run(x: np.ndarray, keeps=loaded) -> object:
        state.update(step(spikes=tf.constant(x), **state))
        return state.pop("outputs").numpy()

    return run


def in_litert(model: keras.Model, path: Path, weights: str = "float32") -> Callable[[np.ndarray], object]:
    ksbp.export.export_litert(model, path, "step", weights=weights)
    step = Interpreter(str(path)).get_signature_runner("step")
    state = {n: np.zeros(of["shape"], "float32") for n, of in step.get_input_details().items() if n != "spikes"}

    def run(x: np.ndarray) -> object:
        state.update(step(spikes=x, **state))
        return state.pop("outputs")

    return run


def in_onnx(model: keras.Model, path: Path) -> Callable[[np.ndarray], object]:
    ksbp.export.export_onnx(model, path)
    step = InferenceSession(str(path))
    tensors = step.get_inputs()[1:]
    state = {tensor.name: np.zeros((1, *tensor.shape[1:]), "float32") for tensor in tensors}

    def run(x: np.ndarray) -> object:
        outputs, *after = step.run(None, {"spikes": x, **state})
        state.update(zip(state, after, strict=True))
        return outputs

    return run


RUNTIMES = {
    "Keras": (in_keras, None),
    "SavedModel": (in_saved_model, "saved_model"),
    "LiteRT": (in_litert, "step.tflite"),
    "LiteRT, 8-bit weights": (lambda model, path: in_litert(model, path, "int8"), "step_int8.tflite"),
    "ONNX Runtime": (in_onnx, "step.onnx"),
}


def measure(steps: int) -> Iterator[dict]:
    """Milliseconds per step in each runtime, after as many warm-up steps, and bytes of the file."""
    for title, build in NETWORKS.items():
        model = build()
        spikes = spikes_of(model)
        for runtime, (start, file) in RUNTIMES.items():
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / (file or "none")
                run = start(model, path)
                times = []
                for _ in range(2 * steps):
                    begin = time.perf_counter()
                    run(spikes)
                    times.append(1e3 * (time.perf_counter() - begin))
                low, middle, high = np.percentile(times[steps:], [10, 50, 90])
                yield {
                    "network": title,
                    "runtime": runtime,
                    "ms": [round(float(value), 4) for value in (low, middle, high)],
                    "bytes": size(path) if file else None,
                }


def main() -> None:
    hide_gpus()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    print(json.dumps(list(measure(parser.parse_args().steps))))


if __name__ == "__main__":
    main()
