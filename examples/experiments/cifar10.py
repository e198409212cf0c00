"""CIFAR-10 within the hour: an ANN whose ReLU is rounded to spike counts, then its weights in signed spiking neurons.

python -m examples.experiments.cifar10 [--data-dir FOLDER] [--output checkpoints/cifar10] [...]

The weights of the rounded ANN carry over. As in airbench (github.com/
KellerJordan/cifar10-airbench): a first layer of whitened 2x2 patches, pooling before the normalisation, large batches
with Nesterov momentum, reflected translation. A convolution and the average pooling behind it are trained as such and
end as one convolution with strides. The same command goes on after an interruption.
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

STEPS, THRESHOLD, INITIAL, BATCH_SIZE = 4, 2.0, 0.5, 500
WIDTHS, LEARNING_RATE = [64, 256, 256], 0.5
NEURONS = {"beta": 1.0, "threshold": THRESHOLD, "initial_membrane": INITIAL, "signed": True}


def spiking_network(widths: list[int], seed: int) -> keras.Model:
    """24 filters of 2x2, then for each width a convolution with strides and one without; the mean of the last layer."""
    stages: list[tuple[int, ...] | str] = [(24, 2)]
    for width in widths:
        stages += [(width, 4, 2), (width, 3)]
    how = {**NEURONS, "preset": "deep", "num_steps": STEPS, "seed": seed}
    return ksbp.models.spiking_vgg((32, 32, 3), 10, [*stages, "pool", "pool"], [], **how)


def pooled(kernel: tf.Tensor) -> tf.Tensor:
    """The 4x4 kernel, for strides of 2, of a 3x3 convolution and the average pooling behind it."""
    places = [[(y, 1 - y), (x, 1 - x), (0, 0), (0, 0)] for y in (0, 1) for x in (0, 1)]
    return tf.add_n([tf.pad(kernel / 4, place) for place in places])


class RoundedRates(keras.layers.Layer):
    """Batch normalisation and `examples.experiments.rounded.RoundedReLU`, in few passes over memory."""

    def build(self, shape: tuple) -> None:
        def weight(name: str, value: str, trainable: bool) -> keras.Variable:
            return self.add_weight(
                shape=shape[-1:], initializer=value, name=name, trainable=trainable, dtype="float32", autocast=False
            )

        self.gamma, self.beta = weight("gamma", "ones", True), weight("beta", "zeros", True)
        self.mean, self.variance = weight("moving_mean", "zeros", False), weight("moving_variance", "ones", False)

    def call(self, currents: tf.Tensor, training: bool = False) -> tf.Tensor:
        mean, variance = self.mean.value, self.variance.value
        if training:
            wide = tf.cast(currents, tf.float32)
            number = tf.cast(tf.size(currents) // currents.shape[-1], tf.float32)
            mean = tf.stop_gradient(_sums(wide) / number)
            variance = tf.stop_gradient(_sums(tf.square(wide - mean)) / number)
            for moving, new in ((self.mean, mean), (self.variance, variance)):
                moving.assign(0.8 * moving.value + 0.2 * new)
        return _rounded(currents, self.gamma.value, self.beta.value, mean, tf.math.rsqrt(variance + 1e-3))


def _sums(values: tf.Tensor) -> tf.Tensor:
    """Of each channel."""
    rows = tf.reshape(values, (-1, values.shape[-1]))
    return tf.matmul(tf.ones((1, tf.shape(rows)[0])), rows)[0]


def _charge(currents: tf.Tensor, factor: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    return STEPS * (tf.cast(currents, tf.float32) * factor + shift) / THRESHOLD + INITIAL


@tf.function(jit_compile=True)
def _rates(currents: tf.Tensor, factor: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    count = tf.clip_by_value(tf.math.ceil(_charge(currents, factor, shift)) - 1.0, 0.0, float(STEPS))
    return tf.cast(count / STEPS, currents.dtype)


@tf.function(jit_compile=True)
def _through_rates(currents: tf.Tensor, factor: tf.Tensor, shift: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    charge = _charge(currents, factor, shift)
    return tf.where((charge > 0) & (charge <= STEPS), tf.cast(upstream, tf.float32) / THRESHOLD, 0.0)


@tf.function(jit_compile=True)
def _product(currents: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    return tf.cast(currents, tf.float32) * upstream


@tf.function(jit_compile=True)
def _combined(currents: tf.Tensor, upstream: tf.Tensor, a: tf.Tensor, b: tf.Tensor, c: tf.Tensor) -> tf.Tensor:
    return tf.cast(a * upstream + b * tf.cast(currents, tf.float32) + c, currents.dtype)


@tf.custom_gradient
def _rounded(currents: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, mean: tf.Tensor, inverse: tf.Tensor):
    """Rates of `gamma * (currents - mean) * inverse + beta`; mean and deviation are those of the currents."""
    factor, shift = gamma * inverse, beta - mean * gamma * inverse

    def grad(upstream: tf.Tensor):
        number = tf.cast(tf.size(currents) // currents.shape[-1], tf.float32)
        upstream = _through_rates(currents, factor, shift, upstream)
        of_beta = _sums(upstream)
        of_gamma = (_sums(_product(currents, upstream)) - mean * of_beta) * inverse
        slope = -factor * of_gamma * inverse / number
        of_currents = _combined(currents, upstream, factor, slope, -factor * of_beta / number - slope * mean)
        return of_currents, of_gamma, of_beta, None, None

    return _rates(currents, factor, shift), grad


def layers_of(widths: list[int], dtype: str) -> list[list[keras.layers.Layer]]:
    """What stands before each layer of neurons; convolutions begin as the identity, the first one is whitening."""

    def convolution(filters: int, size: int = 3) -> keras.layers.Layer:
        return keras.layers.Conv2D(filters, size, padding="same", use_bias=False, dtype=dtype)

    layers = [[convolution(24, 2)]]
    for width in widths:
        layers += [[convolution(width), keras.layers.AveragePooling2D(2, dtype=dtype)], [convolution(width)]]
    return layers


def rounded_network(widths: list[int], dtype: str) -> keras.Model:
    """The network without time."""
    images = keras.Input((32, 32, 3))
    rates = images
    for layers in layers_of(widths, dtype):
        for layer in [*layers, RoundedRates(dtype=dtype)]:
            rates = layer(rates)
    rates = keras.layers.GlobalAveragePooling2D(dtype=dtype)(rates)
    outputs = keras.layers.Dense(10, use_bias=False, dtype=dtype)(rates)
    return keras.Model(images, keras.layers.Activation("linear", dtype="float32")(outputs), name="rounded")


def training_network(widths: list[int], dtype: str) -> keras.Model:
    """The spiking network with convolutions and average pooling in place of convolutions with strides."""
    neurons = {**NEURONS, "reset_mechanism": "subtract", "surrogate": "bounded"}
    cells: list[keras.layers.Layer] = []
    for layers in layers_of(widths, dtype):
        norm = keras.layers.BatchNormalization(momentum=0.8, dtype=dtype)
        cells.append(ksbp.LIFCell(keras.Sequential([*layers, norm]), **neurons))
    cells.append(keras.layers.GlobalAveragePooling2D(dtype=dtype))
    cells.append(ksbp.ReadoutCell(keras.layers.Dense(10, use_bias=False, dtype=dtype), beta=1.0))
    images = keras.Input((32, 32, 3))
    steps = ksbp.ConstantEncoder(STEPS)(images)
    return keras.Model(images, ksbp.SpikingRNN(ksbp.SequentialCell(cells), name="time")(steps), name="spiking")


def final(trained: keras.Model, widths: list[int], seed: int) -> keras.Model:
    """The `spiking_network` with the weights of a trained one."""
    network = spiking_network(widths, seed)
    pairs = zip(trained.get_weights(), network.weights, strict=True)
    network.set_weights([value if value.shape == weight.shape else pooled(value).numpy() for value, weight in pairs])
    return network


def initialise(rounded: keras.Model, images: np.ndarray) -> None:
    """Whitening filters of 2x2 patches, of both signs, that stay; identity in the first channels of convolutions."""
    patches = np.lib.stride_tricks.sliding_window_view(images, (2, 2), (1, 2)).transpose(0, 1, 2, 4, 5, 3)
    patches = patches.reshape(-1, 12)
    variances, directions = np.linalg.eigh(patches.T @ patches / len(patches))
    filters = (directions / np.sqrt(variances + 5e-4))[:, ::-1].reshape(2, 2, 3, 12)
    whitening, *others = [v for v in rounded.weights if len(v.shape) == 4]
    whitening.assign(np.concatenate([filters, -filters], axis=-1))
    whitening.trainable = False
    for kernel in others:
        value, channels = kernel.numpy(), min(kernel.shape[2:])
        value[..., :channels] = 0
        value[1, 1, range(channels), range(channels)] = 1
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
    model: keras.Model, data: ksbp.datasets.Batches, epochs: int, rate: object, folder: Path, verbose: int
) -> None:
    optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=1e-2)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta"])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)
    model.compile(optimizer, loss, metrics=["accuracy"])
    ksbp.training.fit(model, data, epochs, folder, verbose=verbose)


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder of prepared data")
    parser.add_argument("--epochs", type=int, nargs=2, default=[22, 7], help="as a rounded ANN, then spiking")
    parser.add_argument("--dtype", default="mixed_bfloat16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("checkpoints/cifar10"))
    parser.add_argument("--verbose", type=int, default=PROGRESS)
    args = parser.parse_args(arguments)
    start = time.time()
    data = ksbp.datasets.load_images("cifar10", args.data_dir)
    keras.utils.set_random_seed(args.seed)
    ksbp.kernels.enable()
    seen, tested = batches(data, args.seed), data.test_batches(500)
    rounded, spiking = rounded_network(WIDTHS, args.dtype), training_network(WIDTHS, args.dtype)
    initialise(rounded, data.normalised(data.train[0][:5000]))
    of_rounded, of_spiking = args.epochs
    steps, warmup = of_rounded * seen.steps_per_epoch, of_rounded * seen.steps_per_epoch // 4
    schedule = keras.optimizers.schedules
    rate = schedule.CosineDecay(
        0.2 * LEARNING_RATE, steps - warmup, 0.2, warmup_target=LEARNING_RATE, warmup_steps=warmup
    )
    train(rounded, seen, of_rounded, rate, args.output / "rounded", args.verbose)
    spiking.set_weights(rounded.get_weights())
    spiking.get_layer("time").cell.cells[0].synapse.layers[0].trainable = False
    rate = schedule.PolynomialDecay(0.2 * LEARNING_RATE, of_spiking * seen.steps_per_epoch, 1e-3)
    train(spiking, seen, of_spiking, rate, args.output / "spiking", args.verbose)
    network = final(spiking, WIDTHS, args.seed)
    network.save(args.output / "model.keras")
    report = {
        "command": command(arguments, "examples.experiments.cifar10"),
        "machine": machine(),
        "minutes": (time.time() - start) / 60,
        "rounded": float(np.mean(rounded.predict(tested, verbose=0).argmax(-1) == data.test[1])),
        "test": test(network, tested),
    }
    write(args.output / "report.json", report)
    print(report, flush=True)
    return report


if __name__ == "__main__":
    main()
