"""Deep residual networks: 10,000 CIFAR-10 images, 4 time steps, 2 epochs, with `fit`.

python -m examples.experiments.deep_residual [--blocks 6] [--residual current] [--ann] [...]
python -m examples.experiments.deep_residual --table FILE

Compares blocks whose shortcut adds to the current of the last neurons (the paper) with blocks whose shortcut adds to
their spikes; `--help` names all options. A stem, three stages of `--blocks` blocks with 32, 64 and 128 filters, a
readout. Each block has two convolutions; with stem, two shortcuts and readout, these are 6 * blocks + 4 layers with
weights: 22, or 40 with `--blocks 6`.
"""

from __future__ import annotations

import argparse

import keras

import keras_spiking_bp as ksbp
from examples.experiments.short_trainings import ShortTrainings, count, neuron_settings
from keras_spiking_bp.models.resnet import RESIDUALS

#: The rows of the table in docs/log/studies.md: the network, and the options.
TABLE = {
    "--residual current --seeds 3": "the paper's blocks",
    "--residual spikes --seeds 3": "blocks that add spikes",
    "--residual current --ann": "the paper's blocks with ReLU, an ANN",
    "--residual spikes --ann": "blocks that add the outputs of ReLU, an ANN",
    "--blocks 6 --residual current": "40 layers, the paper's blocks",
    "--blocks 6 --residual spikes": "40 layers, blocks that add spikes",
    "--blocks 6 --residual spikes --ann": "the last with ReLU, an ANN",
    "--residual spikes --gradient bptt --surrogate atan": "blocks that add spikes, through time",
}


def network(args: argparse.Namespace, seed: int) -> keras.Model:
    blocks = [(filters, 1 if i or filters == 32 else 2) for filters in (32, 64, 128) for i in range(args.blocks)]
    return ksbp.models.spiking_resnet(
        (32, 32, 3),
        10,
        blocks,
        dense_units=[],
        residual=args.residual,
        stem_filters=32,
        encoder=ksbp.ConstantEncoder(args.num_steps),
        gradient=args.gradient,
        normalization="batch",
        pooling="average",
        dtype=args.policy,
        seed=seed,
        **neuron_settings(args),
        preset="paper",
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--blocks", type=count, default=3, help="of each of the three stages")
    parser.add_argument("--residual", default="spikes", choices=RESIDUALS, help="what a shortcut adds to")


TRAININGS = ShortTrainings(__doc__.splitlines()[0], network, TABLE, add_options, {"images": 10_000})
main = TRAININGS.main

if __name__ == "__main__":
    main()
