"""A packaged network as C files, beside the library: test accuracy in float32 and int8, and how far outputs differ.

python -m examples.experiments.c_accuracy mnist|cifar10|spoken_digits [--samples 500] [--data-dir DIR]

All see the same spikes, those of `export.poisson_spikes` with the number of the sample as seed. Needs a C compiler.
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from examples.experiments.pretrained import images_of
from keras_spiking_bp import datasets, export, models
from keras_spiking_bp.encoders import ConstantEncoder, PoissonEncoder
from keras_spiking_bp.export.forms import Network, step_form


def inputs_of_steps(name: str, model: keras.Model, samples: int, data_dir: str | None) -> tuple[list, np.ndarray]:
    """What the network sees, (T, ...) of each test sample, and the labels."""
    if name == "spoken_digits":
        test = datasets.load_spoken_digits(data_dir)[1]
        series = [one[mask] for one, mask in zip(test.series[:samples], test.mask, strict=False)]
        return series, test.labels[:samples]
    data = images_of(name, data_dir)
    images, encoder = data.normalised(data.test[0][:samples]), model.layers[1]
    if isinstance(encoder, PoissonEncoder):
        spikes = [
            export.poisson_spikes(image[None], encoder.num_steps, seed, encoder.scale)[0]
            for seed, image in enumerate(images)
        ]
        return spikes, data.test[1][:samples]
    return [np.repeat(image[None], encoder.num_steps, axis=0) for image in images], data.test[1][:samples]


class InC:
    """The files of a network, compiled."""

    def __init__(self, model: keras.Model, weights: str, folder: Path):
        self.memory = export.export_c(model, folder / weights, weights)
        command = ["cc", "-O2", "-std=c99", "-shared", "-fPIC", "network.c", "weights.c", "-o", "network.so"]
        subprocess.run(command, cwd=folder / weights, check=True)
        self.library = ctypes.CDLL(str(folder / weights / "network.so"))
        self.library.network_output.restype = ctypes.c_float
        self.states = ctypes.create_string_buffer(self.memory["ram"])
        self.constant = isinstance(model.layers[1], ConstantEncoder)
        self.outputs = int(np.prod(model.output_shape[1:]))

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """The outputs after the last step."""
        self.library.network_reset(self.states)
        for step, now in enumerate(np.ascontiguousarray(inputs, "float32")):
            again = self.constant and step > 0
            self.library.network_step(self.states, None if again else now.ctypes.data_as(ctypes.c_void_p))
        return np.array([self.library.network_output(self.states, i) for i in range(self.outputs)])


def by_library(network: Network, sequences: list[np.ndarray]) -> np.ndarray:
    """The outputs after the last step of the step form, which `predict` divides by T."""
    form, outputs = step_form(network), []
    step = tf.function(form.function, autograph=False, reduce_retracing=True)
    for sequence in sequences:
        states = [tf.zeros((1, *spec.shape[1:])) for spec in form.inputs[1:]]
        for now in sequence.astype("float32"):
            values = step(tf.constant(now[None]), *states)
            states = [values[spec.name] for spec in form.inputs[1:]]
        outputs.append(values["outputs"].numpy()[0])
    return np.array(outputs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", choices=["mnist", "cifar10", "spoken_digits"])
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--without-library", action="store_true", help="run the C files alone")
    parser.add_argument("--data-dir")
    options = parser.parse_args()
    model = models.load_pretrained(options.network, models.model_card(options.network)["recipe"].get("num_steps"))
    sequences, labels = inputs_of_steps(options.network, model, options.samples, options.data_dir)
    with tempfile.TemporaryDirectory() as folder:
        run = {weights: InC(model, weights, Path(folder)) for weights in ("float32", "int8")}
        network = Network(model)
        outputs = {f"C, {weights}": np.array([in_c(x) for x in sequences]) for weights, in_c in run.items()}
        if not options.without_library:
            outputs["library"] = expected = by_library(network, sequences)
            different = np.abs(outputs["C, float32"] - expected).max(1) / np.abs(expected).max(1)
            near, number = int((different <= 1e-5).sum()), len(labels)  # else a spike came a step early or late
            print(f"float32: {near} of {number} within 1e-5 of the largest output, all within {different.max():.1e}")
        for name, values in outputs.items():
            correct = int((values.argmax(1) == labels).sum())
            print(f"{name}: {correct} of {len(labels)} correct, {100 * correct / len(labels):.2f} %")


if __name__ == "__main__":
    main()
