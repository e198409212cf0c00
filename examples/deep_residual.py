"""Deep residual networks: 10,000 CIFAR-10 images, 4 time steps, 2 epochs, with `fit`.

python -m examples.deep_residual [--blocks 6] [--residual current] [--gradient bptt --surrogate atan] [--ann] [...]
python -m examples.deep_residual --table FILE

Compares blocks whose shortcut adds to the current of the last neurons (the paper) with blocks whose shortcut adds to
their spikes; `--help` names all options. A stem, three stages of `--blocks` blocks with 32, 64 and 128 filters, a
readout. Each block has two convolutions; with stem, two shortcuts and readout, these are 6 * blocks + 4 layers with
weights: 22, or 40 with `--blocks 6`.
"""

from __future__ import annotations

import argparse

import keras
from keras.layers import AveragePooling2D, BatchNormalization, Conv2D, Flatten, ZeroPadding2D

import keras_spiking_bp as ksbp
from examples.ports.conv_fashion_mnist import on_all_steps
from examples.short_trainings import ShortTrainings, count
from keras_spiking_bp.models.resnet import RESIDUALS

#: The rows of the table in docs/training.md: the network, and the options.
TABLE = {
    "--residual current --seeds 3": "the paper's blocks",
    "--residual spikes --seeds 3": "blocks that add spikes",
    "--residual current --ann": "the paper's blocks with ReLU, an ANN",
    "--residual spikes --ann": "blocks that add the outputs of ReLU, an ANN",
    "--blocks 6 --residual current": "40 layers, the paper's blocks",
    "--blocks 6 --residual spikes": "40 layers, blocks that add spikes",
    "--blocks 6 --residual spikes --ann": "the last with ReLU, an ANN",
    "--residual spikes --gradient bptt --surrogate atan": "blocks that add spikes, through time",
    "--residual sequences --gradient bptt --surrogate atan": "the same as layers on sequences",
}


def network(args: argparse.Namespace, seed: int) -> keras.Model:
    blocks = [(filters, 1 if i or filters == 32 else 2) for filters in (32, 64, 128) for i in range(args.blocks)]
    if args.residual == "sequences":
        return on_sequences(args, blocks)
    return ksbp.models.spiking_resnet(
        (32, 32, 3),
        10,
        blocks,
        dense_units=[],
        residual=args.residual,
        stem_filters=32,
        encoder=ksbp.ConstantEncoder(args.num_steps),
        gradient=args.gradient,
        surrogate=args.surrogate,
        normalization="batch",
        pooling="average",
        beta=args.beta,
        threshold=args.threshold,
        initial_membrane=args.initial_membrane,
        reset_mechanism="subtract",
        policy=args.policy,
        seed=seed,
    )


def on_sequences(args: argparse.Namespace, blocks: list[tuple[int, int]]) -> keras.Model:
    """The network that adds spikes, as Keras layers on the images of all steps, one after the other.

    As in the multi-step mode of SpikingJelly: batch normalisation is that of Keras, over batch, steps and positions.
    """
    if args.ann:
        raise SystemExit("--ann is of cells: --residual current or spikes")

    def initial() -> keras.initializers.Initializer:
        return keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")

    def convolution(x: keras.KerasTensor, filters: int, size: int = 3, strides: int = 1) -> keras.KerasTensor:
        padded = [ZeroPadding2D(size // 2, dtype=args.policy)] if strides > 1 else []
        weights = Conv2D(
            filters,
            size,
            strides,
            padding="valid" if padded else "same",
            use_bias=False,
            kernel_initializer=initial(),
            dtype=args.policy,
        )
        x = on_all_steps([*padded, weights, BatchNormalization(momentum=0.9, dtype=args.policy)], x)
        neurons = ksbp.LIFCell(
            keras.layers.Identity(),
            args.beta,
            args.threshold,
            "subtract",
            surrogate=args.surrogate,
            initial_membrane=args.initial_membrane,
        )
        return ksbp.SpikingRNN(neurons, gradient=args.gradient, return_sequences=True)(x)

    images = keras.Input((32, 32, 3))
    x = convolution(ksbp.ConstantEncoder(args.num_steps)(images), 32)
    x, channels = on_all_steps([AveragePooling2D(2)], x), 32
    for filters, strides in blocks:
        second = convolution(convolution(x, filters), filters, strides=strides)
        x = keras.layers.Add()([second, x if filters == channels else convolution(x, filters, 1, strides)])
        channels = filters
    weights = keras.layers.Dense(10, use_bias=False, kernel_initializer=initial(), dtype=args.policy)
    readout = ksbp.SpikingRNN(ksbp.ReadoutCell(weights, args.beta), gradient=args.gradient)
    return keras.Model(images, readout(on_all_steps([Flatten()], x)))


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--blocks", type=count, default=3, help="of each of the three stages")
    parser.add_argument(
        "--residual",
        default="spikes",
        choices=[*RESIDUALS, "sequences"],
        help="what a shortcut adds to; sequences: spikes, with Keras layers on sequences in place of cells",
    )


TRAININGS = ShortTrainings(__doc__.splitlines()[0], network, TABLE, add_options, {"images": 10_000})
main = TRAININGS.main

if __name__ == "__main__":
    main()
