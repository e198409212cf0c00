"""CIFAR-10 within the hour: a spiking network first trained as its ANN, which takes less time, then with its neurons.

python -m examples.experiments.cifar10 [--data-dir FOLDER] [--output checkpoints/cifar10] [...]

As in airbench (github.com/KellerJordan/cifar10-airbench): a first layer of whitened 2x2 patches, Muon, large batches,
reflected translation, smoothed labels. The same command goes on after an interruption.
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
from examples.experiments.report import command, test, write
from keras_spiking_bp.datasets.batches import one_hot
from keras_spiking_bp.datasets.images import ImageSet

WIDTHS, BATCH_SIZE, LEARNING_RATE = [64, 256, 256], 500, 0.02


def spiking_network(widths: list[int], dtype: str | None, seed: int) -> keras.Model:
    """24 filters of 2x2, then for each width a convolution with strides and one without; the mean of the last layer."""
    stages: list[tuple[int, ...] | str] = [(24, 2)]
    for width in widths:
        stages += [(width, 4, 2), (width, 3)]
    how = {"beta": 1.0, "signed": True, "dtype": dtype, "seed": seed}
    return ksbp.models.spiking_vgg((32, 32, 3), 10, [*stages, "pool", "pool"], [], **how)


def initialise(network: keras.Model, images: np.ndarray) -> None:
    """Whitening filters of 2x2 patches, of both signs; the other convolutions begin as the identity, or a mean."""
    patches = np.lib.stride_tricks.sliding_window_view(images, (2, 2), (1, 2)).transpose(0, 1, 2, 4, 5, 3)
    patches = patches.reshape(-1, 12)
    variances, directions = np.linalg.eigh(patches.T @ patches / len(patches))
    filters = (directions / np.sqrt(variances + 5e-4))[:, ::-1].reshape(2, 2, 3, 12)
    whitening, *others = [v for v in network.weights if len(v.shape) == 4]
    whitening.assign(np.concatenate([filters, -filters], axis=-1))
    for kernel in others:
        value, channels = kernel.numpy(), min(kernel.shape[2:])
        middle = slice(1, len(value) - 1)
        value[..., :channels] = 0
        value[middle, middle, range(channels), range(channels)] = 1 / (len(value) - 2) ** 2
        kernel.assign(value)


def batches(data: ImageSet, seed: int) -> ksbp.datasets.Batches:
    """Moved by up to four pixels, the border reflected; flipped or not; a square of 8x8 pixels grey."""

    def transform(image: tf.Tensor, random: tf.Tensor) -> tf.Tensor:
        image = (tf.cast(image, tf.float32) / 255.0 - data.mean) / data.scale
        image = tf.pad(image, [(4, 4), (4, 4), (0, 0)], "REFLECT")
        image = tf.image.stateless_random_crop(image, (32, 32, 3), random)
        image = tf.image.stateless_random_flip_left_right(image, random + 1)
        corner = tf.random.stateless_uniform((2,), random + 2, 0, 25, tf.int32)
        rows, columns = (tf.abs(2 * (tf.range(32) - first) - 7) < 8 for first in tf.unstack(corner))
        return tf.where((rows[:, None] & columns)[..., None], 0.0, image)

    images, labels = data.train
    return ksbp.datasets.Batches(images, one_hot(labels, 10), BATCH_SIZE, transform, seed)


def train(
    model: keras.Model, data: ksbp.datasets.Batches, epochs: int, rates: list[float], folder: Path, verbose: int
) -> None:
    """Some epochs, in which the learning rate goes along a line."""
    rate = keras.optimizers.schedules.PolynomialDecay(rates[0], epochs * data.steps_per_epoch, rates[1])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)
    model.compile(ksbp.optimizers.Muon(rate, ns_dtype="bfloat16"), loss, metrics=["accuracy"])
    ksbp.training.fit(model, data, epochs, folder, verbose=verbose)


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder of prepared data")
    parser.add_argument("--epochs", type=int, nargs=2, default=[21, 10], help="as an ANN, then spiking")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("checkpoints/cifar10"))
    parser.add_argument("--verbose", type=int, default=PROGRESS)
    args = parser.parse_args(arguments)
    start = time.time()
    data = ksbp.datasets.load_images("cifar10", args.data_dir)
    ksbp.kernels.enable()
    seen = batches(data, args.seed)
    network = spiking_network(WIDTHS, "mixed_bfloat16", args.seed)
    initialise(network, data.normalised(data.train[0][:5000]))
    network.get_layer("time").cell.cells[0].synapse.trainable = False
    ann = ksbp.ann_counterpart(network)
    ann.get_layer("conv1").trainable = False
    between = LEARNING_RATE * args.epochs[1] / sum(args.epochs)
    train(ann, seen, args.epochs[0], [LEARNING_RATE, between], args.output / "ann", args.verbose)
    ksbp.copy_weights(ann, network)
    train(network, seen, args.epochs[1], [between, 0.0], args.output / "spiking", args.verbose)
    final = spiking_network(WIDTHS, None, args.seed)
    final.set_weights(network.get_weights())
    final.save(args.output / "model.keras")
    report = {
        "command": command(arguments, "examples.experiments.cifar10"),
        "machine": machine(),
        "test": test(final, data.test_batches(500)),
        "minutes": (time.time() - start) / 60,
    }
    write(args.output / "report.json", report)
    print(report, flush=True)
    return report


if __name__ == "__main__":
    main()
