"""A deep network in a few minutes: half-width VGG9, 20,000 CIFAR-10 images, 4 time steps, 2 epochs, with `fit`.

python -m examples.experiments.half_width [--seeds 3] [--normalization none --surrogate triangle] [--ann] [...]
python -m examples.experiments.half_width --table FILE

Small enough to compare derivatives and normalisations on two cores; `--help` names all options. The table in
docs/log/studies.md takes 15 trainings.
"""

from __future__ import annotations

import argparse

import keras

import keras_spiking_bp as ksbp
from examples.experiments.short_trainings import ShortTrainings, neuron_settings
from keras_spiking_bp.models.parts import POOLINGS

STAGES = [(32, 3), (32, 3), "pool", (64, 3), (64, 3), "pool", (128, 3), (128, 3), (128, 3), "pool"]

#: The rows of the table in docs/log/studies.md: the network, and the options.
TABLE = {
    "--seeds 3": "batch normalisation, `bounded`",
    "--shift 2 --seeds 3": "the same, images also shifted by up to 2 pixels",
    "--shift 4": "shifted by up to 4",
    "--surrogate triangle --scale-surrogate --seeds 3": "the first, a surrogate as wide as the threshold",
    "--surrogate triangle --beta 0.5 --threshold 1 --initial-membrane 0": "other neurons, a surrogate",
    "--normalization none --surrogate atan --threshold 1 --learning-rate 1e-3": "no normalisation, a surrogate",
    "--normalization none --surrogate triangle --threshold 1": "no normalisation, other surrogate and learning rate",
    "--ann": "the first with ReLU, an ANN",
    "--ann --shift 2": "the same, shifted by up to 2 pixels",
}


def network(args: argparse.Namespace, seed: int) -> keras.Model:
    return ksbp.models.spiking_vgg(
        (32, 32, 3),
        10,
        STAGES,
        dense_units=[512],
        encoder=ksbp.ConstantEncoder(args.num_steps),
        gradient=args.gradient,
        normalization=None if args.normalization == "none" else args.normalization,
        pooling=args.pooling,
        dtype=args.policy,
        seed=seed,
        **neuron_settings(args),
        preset="paper",
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--normalization", default="batch", choices=["batch", "none"])
    parser.add_argument("--pooling", default="average", choices=POOLINGS)


TRAININGS = ShortTrainings(__doc__.splitlines()[0], network, TABLE, add_options)
main = TRAININGS.main

if __name__ == "__main__":
    main()
