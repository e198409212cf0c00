"""Accuracy after conversion against the number of time steps, for several ways of balancing thresholds.

python -m examples.experiments.convert --network lenet --dataset mnist [--num-steps 100] [...]

`lenet` is the ANN counterpart of the paper's network, `vgg_bn` a VGG with batch normalisation and max pooling. Writes
`NETWORK-DATASET.json` to the output folder; `python -m docs.build.conversion_page` writes the documentation page.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
from keras import layers

import keras_spiking_bp as ksbp
from examples import PROGRESS
from examples.experiments.machine import machine
from examples.experiments.report import command, write
from examples.experiments.training import trained

#: How thresholds are balanced and neurons reset.
METHODS = {
    "maximum": {"method": "max"},
    "percentile 99.9": {"method": "percentile", "percentile": 99.9},
    "percentile 99.9, reset to zero": {"method": "percentile", "percentile": 99.9, "reset_mechanism": "zero"},
}


def vgg_bn(input_shape: tuple[int, ...], classes: int) -> keras.Model:
    """32 - 32 - max pooling - 64 - 64 - max pooling - 128 - classes, batch normalisation after each convolution."""
    x = inputs = keras.Input(input_shape)
    for filters in (32, 64):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        x = layers.MaxPooling2D(2)(x)
    x = layers.Dropout(0.3)(layers.Dense(128, activation="relu")(layers.Flatten()(x)))
    return keras.Model(inputs, layers.Dense(classes)(x), name="vgg_bn")


def lenet(input_shape: tuple[int, ...], classes: int) -> keras.Model:
    """The ANN counterpart of the paper's LeNet."""
    return ksbp.ann_counterpart(ksbp.models.spiking_lenet(input_shape, classes, num_steps=1, seed=0))


NETWORKS = {"lenet": lenet, "vgg_bn": vgg_bn}


def main(arguments: list[str] | None = None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--network", default="lenet", choices=list(NETWORKS))
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--epochs", type=int, default=6, help="of the ANN")
    parser.add_argument("--batch-size", type=int, default=64, help="for training")
    parser.add_argument("--num-steps", type=int, default=100)
    parser.add_argument("--samples", type=int, help="test samples (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", help="folder of prepared data")
    parser.add_argument("--data-note", default="")
    parser.add_argument("--output", type=Path, default=Path("checkpoints/conversion"))
    parser.add_argument("--verbose", type=int, default=PROGRESS)
    args = parser.parse_args(arguments)
    args.output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(args.seed)
    data = ksbp.datasets.load_images(args.dataset, args.data_dir)
    called = f"{args.network}-{args.dataset}"
    ann = trained(
        NETWORKS[args.network](data.input_shape, data.classes), data, args.epochs, args.output / f"{called}.keras",
        batch_size=args.batch_size, seed=args.seed, verbose=args.verbose,
    )  # fmt: skip
    images, labels = data.test
    images, labels = data.normalised(images[: args.samples]), labels[: args.samples]
    accuracy = float((ann.predict(images, verbose=args.verbose).argmax(-1) == labels).mean())
    sample = data.normalised(data.train[0][:500])
    curves = {}
    for name, how in METHODS.items():
        snn = ksbp.convert_to_snn(ann, sample, args.num_steps, **how)
        curve = ksbp.analysis.accuracy_over_time(snn, images, labels, batch_size=100, verbose=args.verbose)
        curves[name] = curve.rows
        print(f"{name}: {curve.rows[-1]['accuracy']:.4f} after {len(curve)} steps, ANN {accuracy:.4f}", flush=True)
    report = {
        "command": command(arguments, "examples.experiments.convert"),
        "network": args.network,
        "dataset": args.dataset,
        "note": args.data_note,
        "samples": len(images),
        "ann_accuracy": accuracy,
        "curves": curves,
        "machine": machine(),
    }
    write(args.output / f"{called}.json", report)
    return report


if __name__ == "__main__":
    main()
