"""A deep network in a few minutes: half-width VGG9, 20,000 CIFAR-10 images, 4 time steps, 2 epochs, with `fit`.

python -m examples.half_width [--seeds 3] [--normalization none --surrogate triangle] [--ann] [...]
python -m examples.half_width --table FILE

Small enough to compare derivatives and normalisations on two cores. Images are flipped at random and, with `--shift 2`,
translated by up to 2 pixels. Prints one line per seed: test accuracy and the firing rate of each layer. `--ann` trains
the same network with ReLU instead of spiking neurons. `--table` trains all rows of the table in docs/training.md (12
trainings) into one report, and goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from pathlib import Path

import keras
import numpy as np

import keras_spiking_bp as ksbp
from examples import PROGRESS
from examples.machine import machine
from examples.report import write
from keras_spiking_bp.gradient_rules import GRADIENTS
from keras_spiking_bp.models.parts import POOLINGS
from keras_spiking_bp.surrogates import NAMES

STAGES = [(32, 3), (32, 3), "pool", (64, 3), (64, 3), "pool", (128, 3), (128, 3), (128, 3), "pool"]

#: The rows of the table in docs/training.md: the network, and the options.
TABLE = {
    "--seeds 3": "batch normalisation, `bounded`",
    "--shift 2 --seeds 3": "the same, images also shifted by up to 2 pixels",
    "--shift 4": "shifted by up to 4",
    "--surrogate triangle --beta 0.5 --threshold 1 --initial-membrane 0": "batch normalisation, a surrogate",
    "--normalization none --surrogate atan --threshold 1 --learning-rate 1e-3": "no normalisation, a surrogate",
    "--normalization none --surrogate triangle --threshold 1": "the same",
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
        surrogate=args.surrogate,
        normalization=None if args.normalization == "none" else args.normalization,
        pooling=args.pooling,
        beta=args.beta,
        threshold=args.threshold,
        initial_membrane=args.initial_membrane,
        reset_mechanism="subtract",
        policy=args.policy,
        seed=seed,
    )


def train(args: argparse.Namespace, data: ksbp.datasets.ImageSet, seed: int) -> dict:
    """Trains a newly built network and tests it."""
    keras.utils.set_random_seed(seed)
    model = network(args, seed)
    if args.ann:
        model = ksbp.ann_counterpart(model)
    images, labels = data.train
    steps = args.epochs * math.ceil(len(images) / args.batch_size)
    warmup = steps // 10
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=args.learning_rate, warmup_steps=warmup
    )
    augmentation = [keras.layers.RandomFlip("horizontal", seed=seed)]
    if args.shift:
        factors = (args.shift / data.input_shape[0], args.shift / data.input_shape[1])
        shift = keras.layers.RandomTranslation(*factors, fill_mode="constant", interpolation="nearest", seed=seed)
        augmentation.append(shift)
    flipped = keras.Sequential([keras.Input(data.input_shape), *augmentation, model])
    flipped.compile(
        keras.optimizers.AdamW(rate, weight_decay=args.weight_decay),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    start = time.perf_counter()
    flipped.fit(
        data.normalised(images),
        keras.utils.to_categorical(labels, data.classes),
        batch_size=args.batch_size,
        epochs=args.epochs,
        verbose=args.verbose,
    )
    seconds = time.perf_counter() - start
    result = {"seed": seed, "seconds": round(seconds)}
    if args.ann:
        return {**result, "accuracy": flipped.evaluate(data.test_batches(200), verbose=0)[1]}
    done = ksbp.analysis.run(model, data.test_batches(200), verbose=0)
    neurons = {name: n for name, n in done.neurons.items() if name != "input"}
    spikes = {name: float(done.spikes[name].mean()) for name in neurons}
    return {
        **result,
        "accuracy": float(done.correct()[:, -1].mean()),
        "firing_rates": {name: round(spikes[name] / n, 3) for name, n in neurons.items()},
        "firing_rate": round(sum(spikes.values()) / sum(neurons.values()), 3),
    }


def fill(path: Path, data_dir: str | None, verbose: int) -> None:
    """Trains what is missing in the table at `path`."""
    rows = json.loads(path.read_text()) if path.exists() else []
    common = [*([f"--data-dir={data_dir}"] if data_dir else []), f"--verbose={verbose}"]
    for options, title in TABLE.items():
        if options not in {row["options"] for row in rows}:
            print(title, flush=True)
            rows.append({"network": title, "options": options, **measure(parse([*options.split(), *common]))})
            write(path, rows)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--data-dir", help="folder of prepared data")
    parser.add_argument("--images", type=int, default=20_000, help="training images")
    parser.add_argument("--test-images", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=1, help="training runs")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--num-steps", type=int, default=4)
    parser.add_argument("--gradient", default="bounded", choices=GRADIENTS)
    parser.add_argument("--surrogate", choices=NAMES)
    parser.add_argument("--normalization", default="batch", choices=["batch", "none"])
    parser.add_argument("--pooling", default="average", choices=POOLINGS)
    parser.add_argument("--beta", type=float, default=1.0)
    parser.add_argument("--threshold", type=float, default=2.0, help="with normalisation: in standard deviations")
    parser.add_argument("--initial-membrane", type=float, default=0.5)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--weight-decay", type=float, default=0.02)
    parser.add_argument("--policy", default="mixed_bfloat16")
    parser.add_argument("--shift", type=int, default=0, help="maximum shift of training images, in pixels")
    parser.add_argument("--ann", action="store_true", help="the same network with ReLU")
    parser.add_argument("--table", type=Path, help="all rows of the table, into this file; takes no other options")
    parser.add_argument("--verbose", type=int, default=PROGRESS)
    args = parser.parse_args(arguments)
    if args.table is not None:
        usual = vars(parser.parse_args([])) | {name: getattr(args, name) for name in ("table", "data_dir", "verbose")}
        if vars(args) != usual:
            parser.error("--table has the options of its rows: only --data-dir and --verbose may stand beside it")
    of_neurons = ("num_steps", "gradient", "surrogate", "beta", "threshold", "initial_membrane")
    if args.ann and any(getattr(args, name) != parser.get_default(name) for name in of_neurons):
        parser.error(
            "--ann has no spiking neurons: leave out " + ", ".join(f"--{n.replace('_', '-')}" for n in of_neurons)
        )
    return args


def measure(args: argparse.Namespace) -> dict:
    """The trainings of one row: a report."""
    data = ksbp.datasets.load_images("cifar10", args.data_dir)
    (images, labels), (test_images, test_labels) = data.train, data.test
    data = dataclasses.replace(
        data,
        train=(images[: args.images], labels[: args.images]),
        test=(test_images[: args.test_images], test_labels[: args.test_images]),
    )
    results = []
    for seed in range(args.seeds):
        results.append(train(args, data, seed))
        print(json.dumps(results[-1]), flush=True)
    report = {
        "accuracy": float(np.mean([result["accuracy"] for result in results])),
        "trainings": results,
        "machine": machine(),
    }
    print(f"mean accuracy of {args.seeds}: {report['accuracy']:.4f}")
    return report


def main(arguments: list[str] | None = None) -> None:
    args = parse(arguments)
    if args.table is None:
        measure(args)
    else:
        fill(args.table, args.data_dir, args.verbose)


if __name__ == "__main__":
    main()
