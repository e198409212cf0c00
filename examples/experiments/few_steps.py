"""Accuracy after conversion with few time steps, by choice of thresholds, initial potentials and biases.

python -m examples.experiments.few_steps --network lenet --dataset mnist [--steps 8 16 32 64] [...]

Trains a small ANN, converts it in several ways, and writes `NETWORK-DATASET.json` to the output folder;
`python -m docs.build.conversion_page` writes the documentation page.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import keras
import numpy as np
from keras import layers

import keras_spiking_bp as ksbp
from examples import PROGRESS
from examples.experiments.convert import lenet
from examples.experiments.machine import machine
from examples.experiments.report import command, write
from examples.experiments.training import trained

#: How thresholds, initial potentials and biases are chosen.
METHODS = {
    "percentile 99.9": {},
    "half a threshold": {"initial_membrane": 0.5},
    "half a threshold, signed": {"initial_membrane": 0.5, "signed": True},
    "half a threshold, calibrated": {"initial_membrane": 0.5, "calibrate_biases": True},
    "least error": {"initial_membrane": 0.5, "method": "mse"},
    "least error, calibrated": {"initial_membrane": 0.5, "method": "mse", "calibrate_biases": True},
}
#: Those independent of the number of time steps: one conversion serves for all.
ANY_STEPS = ("percentile 99.9", "half a threshold", "half a threshold, signed")


def _normalised(x, relu=True, maximum=None):
    x = layers.BatchNormalization(momentum=0.9)(x)
    return layers.ReLU(max_value=maximum)(x) if relu else x


def _conv(x, filters, size=3, strides=1, relu=True, maximum=None):
    x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
    return _normalised(x, relu, maximum)


def _vgg(x, stages, units):
    for stage in stages:
        for filters in stage:
            x = _conv(x, filters)
        x = layers.MaxPooling2D(2)(x)
    return layers.Dense(units, activation="relu")(layers.Flatten()(x))


def vgg_bn(x):
    """16 - 16 - max pooling - 32 - 32 - max pooling - 64: the VGG of `convert`, at half its width."""
    return _vgg(x, [(16, 16), (32, 32)], 64)


def vgg9(x):
    """8 - 8, 16 - 16, 32 - 32 - 32, each with max pooling, 128: the paper's VGG9 at an eighth of its width."""
    return _vgg(x, [(8, 8), (16, 16), (32, 32, 32)], 128)


def mobilenet_v2(x):
    """ReLU6; residual blocks with linear bottlenecks."""
    x = _conv(x, 8, strides=2, maximum=6.0)
    x = _conv(x, 8, 1, relu=False)
    for filters, strides in ((8, 1), (16, 2), (16, 1)):
        inner = _conv(x, 4 * x.shape[-1], 1, maximum=6.0)
        inner = layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(inner)
        inner = _conv(_normalised(inner, maximum=6.0), filters, 1, relu=False)
        x = layers.Add()([x, inner]) if strides == 1 else inner
    return layers.GlobalAveragePooling2D()(_conv(x, 64, 1, maximum=6.0))


def densenet(x):
    """Layers on the concatenation of all preceding currents."""
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    for block in range(2):
        for _ in range(3):
            inner = _conv(_normalised(x), 16, 1)
            inner = layers.Conv2D(8, 3, padding="same", use_bias=False)(inner)
            x = layers.Concatenate()([x, inner])
        if block == 0:
            x = layers.AveragePooling2D(2)(layers.Conv2D(16, 1, use_bias=False)(_normalised(x)))
    return layers.GlobalAveragePooling2D()(_normalised(x))


def inception(x):
    """Concatenated branches of spikes."""
    x = _conv(x, 8, strides=2)
    for strides in (1, 2):
        pooled = _conv(layers.AveragePooling2D(3, 1, padding="same")(x), 8, 1, strides)
        x = layers.Concatenate()([_conv(x, 8, 1, strides), _conv(_conv(x, 8, 1), 12, 3, strides), pooled])
    return layers.GlobalAveragePooling2D()(_conv(x, 48))


def resnet_v2(x):
    """Normalisation and ReLU before the convolutions of a block, none after its sum."""
    x = layers.Conv2D(12, 3, strides=2, padding="same", use_bias=False)(x)
    for filters, strides in ((12, 1), (24, 2)):
        before = _normalised(x)
        around = x if strides == 1 else layers.Conv2D(filters, 1, strides=strides, use_bias=False)(before)
        inner = _conv(before, filters, 3, strides)
        x = layers.Add()([around, layers.Conv2D(filters, 3, padding="same", use_bias=False)(inner)])
    return layers.GlobalAveragePooling2D()(_normalised(x))


def xception(x):
    """Separable convolutions; max pooling of currents, added to a shortcut."""
    x = _conv(x, 8, strides=2)
    for filters in (16, 32):
        inner = _normalised(layers.SeparableConv2D(filters, 3, padding="same", use_bias=False)(x))
        inner = layers.SeparableConv2D(filters, 3, padding="same", use_bias=False)(inner)
        inner = layers.MaxPooling2D(3, strides=2, padding="same")(_normalised(inner, relu=False))
        x = layers.ReLU()(layers.Add()([inner, _conv(x, filters, 1, 2, relu=False)]))
    return layers.GlobalAveragePooling2D()(x)


BODIES = {
    "vgg_bn": vgg_bn, "vgg9": vgg9, "mobilenet_v2": mobilenet_v2, "densenet": densenet, "inception": inception,
    "resnet_v2": resnet_v2, "xception": xception,
}  # fmt: skip


def network(name: str, input_shape: tuple[int, ...], classes: int) -> keras.Model:
    """The ANN of this name, with logits as outputs."""
    if name == "lenet":
        return lenet(input_shape, classes)
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, layers.Dense(classes)(BODIES[name](inputs)), name=name)


def outputs_after(snn: keras.Model, images: np.ndarray, steps: list[int]) -> list[np.ndarray]:
    """The outputs after each number of steps, from one run."""
    layer = snn.get_layer("time")
    outputs = ksbp.SpikingRNN(layer.cell, gradient=layer.gradient, return_sequences=True)(layer.input)
    at_each_step = keras.Model(snn.inputs, outputs).predict(images, batch_size=250, verbose=0)
    return [at_each_step[:, t - 1] for t in steps]


def relative_error(outputs: np.ndarray, expected: np.ndarray) -> float:
    """Root-mean-square difference, relative to the standard deviation of the ANN's outputs."""
    return float(np.sqrt(((outputs - expected) ** 2).mean()) / expected.std())


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--network", default="lenet", choices=["lenet", *BODIES])
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--epochs", type=int, default=1, help="of the ANN")
    parser.add_argument("--batch-size", type=int, default=64, help="for training")
    parser.add_argument("--train", type=int, help="training images (default: all)")
    parser.add_argument("--samples", type=int, help="test images (default: all)")
    parser.add_argument("--steps", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--sample-images", type=int, default=200, help="images for setting thresholds and biases")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", help="folder of prepared data")
    parser.add_argument("--output", type=Path, default=Path("checkpoints/few_steps"))
    parser.add_argument("--verbose", type=int, default=PROGRESS)
    args = parser.parse_args(arguments)
    if min(args.steps) < 1:
        parser.error(f"--steps must be at least 1 each. Received: {args.steps}")
    args.output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(args.seed)
    data = ksbp.datasets.load_images(args.dataset, args.data_dir)
    data = dataclasses.replace(data, train=tuple(part[: args.train] for part in data.train))
    called = f"{args.network}-{args.dataset}"
    ann = trained(
        network(args.network, data.input_shape, data.classes), data, args.epochs, args.output / f"{called}.keras",
        batch_size=args.batch_size, learning_rate=args.learning_rate, seed=args.seed, verbose=args.verbose,
        note=args.network,
    )  # fmt: skip
    images, labels = data.normalised(data.test[0][: args.samples]), data.test[1][: args.samples]
    expected = ann.predict(images, verbose=args.verbose)
    accuracy = float((expected.argmax(-1) == labels).mean())
    sample = data.normalised(data.train[0][: args.sample_images])
    accuracies, errors = {}, {}
    for name in args.methods:
        if name in ANY_STEPS:
            snn = ksbp.convert_to_snn(ann, sample, max(args.steps), **METHODS[name])
            outputs = outputs_after(snn, images, args.steps)
        else:
            snns = (ksbp.convert_to_snn(ann, sample, steps, **METHODS[name]) for steps in args.steps)
            outputs = [snn.predict(images, batch_size=250, verbose=0) for snn in snns]
        accuracies[name] = [float((output.argmax(-1) == labels).mean()) for output in outputs]
        errors[name] = [relative_error(output, expected) for output in outputs]
        print(f"{called}, {name}: {accuracies[name]} after {args.steps} steps, ANN {accuracy:.4f}", flush=True)
    report = {
        "command": command(arguments, "examples.experiments.few_steps"),
        "network": args.network,
        "dataset": args.dataset,
        "train": len(data.train[0]),
        "samples": len(images),
        "ann_accuracy": accuracy,
        "steps": args.steps,
        "accuracies": accuracies,
        "errors": errors,
        "machine": machine(),
    }
    write(args.output / f"{called}.json", report)
    return report


if __name__ == "__main__":
    main()
