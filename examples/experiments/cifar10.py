"""CIFAR-10 in a lunch break: first as an ANN with rounded rates, then the same weights as signed spiking neurons.

python -m examples.experiments.cifar10 --data-dir FOLDER [--rounded-epochs 15] [--epochs 21] [--seed 0] [...]

The recipe is that of airbench (arXiv 2404.00498): a first layer that whitens patches and does not learn, large steps of
Nesterov momentum, one learning rate that rises and falls over both parts, smoothed labels, images shifted by up to two
pixels. A step of the rounded ANN costs two thirds of one of the spiking network. Interrupted, it goes on.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_spiking_bp as ksbp
from examples import PROGRESS
from examples.experiments.machine import machine
from examples.experiments.pretrained import ABOUT, FOLDER, package, packed
from examples.experiments.report import command, test, write
from examples.experiments.rounded import rounded_counterpart
from examples.experiments.training import keep_settings
from keras_spiking_bp.datasets import Batches
from keras_spiking_bp.datasets.batches import one_hot
from keras_spiking_bp.datasets.images import ImageSet
from keras_spiking_bp.models.pretrained import unpack

NUM_STEPS = 4
BATCH_SIZE = 250
SHIFT = 2
#: A convolution of stride 2 with kernels of 4x4 stands for one of 3x3 and an average of 2x2 before the neurons.
STAGES: list[tuple[int, ...] | str] = [
    (24, 2), (64, 4, 2), (64, 3), (256, 4, 2), (256, 3), (256, 4, 2), (256, 3), "pool",
]  # fmt: skip


@keras.saving.register_keras_serializable(package="experiments")
class Triangle(keras.optimizers.schedules.LearningRateSchedule):
    """From a tenth of `peak` to `peak` in a fifth of `steps`, then in a line to a hundredth; from step `first` on."""

    def __init__(self, peak: float, steps: int, first: int = 0):
        self.peak, self.steps, self.first = peak, steps, first

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        done = (keras.ops.cast(step, "float32") + self.first) / self.steps
        return self.peak * keras.ops.where(done < 0.2, 0.1 + 4.5 * done, 1 - 0.99 * (done - 0.2) / 0.8)

    def get_config(self) -> dict:
        return {"peak": self.peak, "steps": self.steps, "first": self.first}


class Clock(keras.callbacks.Callback):
    """Adds the seconds of each epoch to a file."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        with self.path.open("a") as file:
            file.write(f"{time.perf_counter() - self.start:.1f}\n")


#: A convolutional network of signed neurons without leak, 2.57 million weights.
SETTINGS = {
    "input_shape": (32, 32, 3), "classes": 10, "stages": STAGES, "dense_units": [], "preset": "deep", "beta": 1.0,
    "signed": True,
}  # fmt: skip


def whiten(model: keras.Model, images: np.ndarray) -> None:
    """Sets the first kernels to the principal components of patches 2x2, scaled to variance 1, and their negatives."""
    corners = [images[:, r : r + 31, c : c + 31][:, ::2, ::2] for r in (0, 1) for c in (0, 1)]
    patches = np.stack(corners, -2).reshape(-1, 12)
    variances, vectors = np.linalg.eigh(np.cov(patches.T))
    kernels = (vectors / np.sqrt(variances + 1e-4)).reshape(2, 2, 3, 12)
    convolution = model.layers[-1].cell.cells[0].synapse.layers[0]
    convolution.kernel.assign(np.concatenate([kernels, -kernels], -1))
    convolution.trainable = False


def augmented(data: ImageSet, seed: int) -> Batches:
    """Batches of images that are shifted, their edges reflected, and mirrored."""

    def transform(image: tf.Tensor, random: tf.Tensor) -> tf.Tensor:
        image = tf.pad(image, [[SHIFT, SHIFT], [SHIFT, SHIFT], [0, 0]], "REFLECT")
        image = tf.image.stateless_random_crop(image, data.input_shape, random)
        return tf.image.stateless_random_flip_left_right(image, random + 1)

    images, labels = data.train
    return Batches(data.normalised(images), one_hot(labels, data.classes), BATCH_SIZE, transform, seed)


def train(model: keras.Model, batches: Batches, args: argparse.Namespace, epochs: int, first: int) -> float:
    """Trains for some of all epochs, from epoch `first` on; the seconds it took, interruptions left out."""
    if epochs:
        steps = batches.steps_per_epoch
        rate = Triangle(args.learning_rate, args.epochs * steps, first * steps)
        optimizer = keras.optimizers.SGD(rate, momentum=0.85, nesterov=True, weight_decay=args.weight_decay)
        optimizer.exclude_from_weight_decay(var_names=["gamma", "beta"])
        loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=args.label_smoothing)
        model.compile(optimizer, loss, metrics=["accuracy"])
        clock = Clock(args.output / f"seconds{first}.txt")
        folder = args.output / f"checkpoint{first}"
        ksbp.training.fit(model, batches, epochs, folder, callbacks=clock, verbose=args.verbose)
    return float(sum(map(float, clock.path.read_text().split()))) if epochs else 0.0


def package_network(model: keras.Model, report: dict, data: ImageSet) -> None:
    """Writes the weights of the package and their card."""
    arrays = packed(model)
    unpack(model, arrays)
    described, use, licence = ABOUT["cifar10"]
    card = {
        "network": "vgg",
        "dataset": described,
        "mean": data.mean,
        "scale": data.scale,
        "input": f"images {data.input_shape}, (image / 255 - mean) / scale of 8-bit values",
        "use": use,
        "settings": {**SETTINGS, "encoder": {"kind": "constant", "scale": 1.0}},
        "trained_by": report["command"],
        "recipe": {"gradient": "accumulated", "num_steps": NUM_STEPS, "test_steps": NUM_STEPS},
        "seed": report["seed"],
        "accuracy_before_quantisation": report["test"]["accuracy"],
        "test_by_num_steps": {str(NUM_STEPS): test(model, data.test_batches(250))},
        "licence": licence,
    }
    package(FOLDER / "cifar10", arrays, card)


def accuracy(model: keras.Model, data: ImageSet) -> float:
    images, labels = data.test
    return float(np.mean(model.predict(data.normalised(images), 250, verbose=0).argmax(-1) == labels))


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder of prepared data")
    parser.add_argument("--rounded-epochs", type=int, default=15, help="of `--epochs`, those as an ANN")
    parser.add_argument("--epochs", type=int, default=21)
    parser.add_argument("--learning-rate", type=float, default=0.4)
    parser.add_argument("--weight-decay", type=float, default=0.009)
    parser.add_argument("--label-smoothing", type=float, default=0.2)
    parser.add_argument("--validation", type=int, default=0, help="test on so many training images left out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kernels", action="store_true", help="train with the C++ kernels")
    parser.add_argument("--package", action="store_true", help="write the weights of the package")
    parser.add_argument("--output", type=Path, required=True, help="folder of the network, its report, checkpoints")
    parser.add_argument("--verbose", type=int, default=PROGRESS)
    args = parser.parse_args(arguments)
    args.output.mkdir(parents=True, exist_ok=True)
    how = command(arguments, "examples.experiments.cifar10").replace(" --package", "")
    keep_settings(args.output / "settings.json", {"command": how}, args.output)
    if args.kernels:
        ksbp.kernels.enable()
    data = ksbp.datasets.load_images("cifar10", args.data_dir)
    if args.validation:
        data = data.with_validation(args.validation)
    keras.utils.set_random_seed(args.seed)
    batches, model = augmented(data, args.seed), ksbp.models.spiking_vgg(**SETTINGS, seed=args.seed)
    whiten(model, data.normalised(data.train[0][:5000]))
    report = {"command": how, "seed": args.seed, "parameters": model.count_params()}
    rounded = rounded_counterpart(model, num_steps=NUM_STEPS, threshold=2.0, initial_membrane=0.5)
    report["rounded_seconds"] = train(rounded, batches, args, args.rounded_epochs, 0)
    report["rounded_accuracy"] = accuracy(rounded, data)
    model.set_weights(rounded.get_weights())
    report["carried_accuracy"] = accuracy(model, data)
    print(report, flush=True)
    report["spiking_seconds"] = train(model, batches, args, args.epochs - args.rounded_epochs, args.rounded_epochs)
    model.save(args.output / "network.keras")
    report |= {"test": test(model, data.test_batches(250)), "machine": machine()}
    write(args.output / "report.json", report)
    print(report["test"]["accuracy"], flush=True)
    if args.package:
        package_network(model, report, data)
    return report


if __name__ == "__main__":
    main()
