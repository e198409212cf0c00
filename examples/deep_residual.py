"""Residual networks of 22 and 40 layers: 10,000 CIFAR-10 images, 4 time steps, 2 epochs, with `fit`.

python -m examples.deep_residual [--blocks 6] [--residual current] [--gradient bptt --surrogate atan] [--ann] [...]
python -m examples.deep_residual --table FILE

Compares blocks whose shortcut adds to the current of the last neurons (the paper) with blocks whose shortcut adds to
their spikes; `--help` names all options. A stem, three stages of `--blocks` blocks with 32, 64 and 128 filters, a
readout. Each block has two convolutions; with shortcuts and readout, these are 6 * blocks + 4 layers with weights.
"""

from __future__ import annotations

import argparse

import keras

import keras_spiking_bp as ksbp
from examples.short_trainings import ShortTrainings
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
    "--residual spikes --gradient bptt --surrogate atan --momentum 0.97": "the same, slower statistics",
}


def network(args: argparse.Namespace, seed: int) -> keras.Model:
    blocks = [(filters, 1 if i or filters == 32 else 2) for filters in (32, 64, 128) for i in range(args.blocks)]
    model = ksbp.models.spiking_resnet(
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
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = args.momentum
    return model


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--blocks", type=int, default=3, help="of each of the three stages")
    parser.add_argument("--residual", default="spikes", choices=RESIDUALS)
    parser.add_argument("--momentum", type=float, default=0.9, help="of the moving statistics of the normalisation")


TRAININGS = ShortTrainings(__doc__.splitlines()[0], network, TABLE, add_options, {"images": 10_000})
main = TRAININGS.main

if __name__ == "__main__":
    main()
