"""Short trainings on part of CIFAR-10, with `fit`, and tables of them: for comparing networks and derivatives.

Used by `half_width`, `deep_residual` and `rounding`. Images are flipped at random and, with
`--shift 2`, translated by up to 2 pixels. Prints one line per seed: training accuracy in the last epoch, test accuracy
and, of a network of cells, firing rates in spikes per neuron and step and synaptic operations per image. `--ann` trains
the same network with ReLU instead of spiking neurons, `--rounded` with ReLU rounded as spike counts are. `--table`
trains the seeds that are missing in a report, of all rows of a table in docs/log/studies.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_spiking_bp as ksbp
from examples import PROGRESS
from examples.experiments.machine import machine
from examples.experiments.report import write
from examples.experiments.rounded import rounded_counterpart
from keras_spiking_bp.gradients import surrogates
from keras_spiking_bp.gradients.surrogates import NAMES
from keras_spiking_bp.rnn.derivative import GRADIENTS

#: Options of spiking neurons that have a time.
OF_TIME = ("gradient", "surrogate", "scale_surrogate", "beta")
#: Options of spiking neurons: a network with ReLU takes none of them.
OF_NEURONS = ("num_steps", "threshold", "initial_membrane", *OF_TIME)


def count(text: str) -> int:
    """An option that counts something."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1. Received: {text}")
    return number


def neuron_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of all LIF neurons."""
    bptt = args.gradient == "bptt" and args.surrogate == "bounded"  # the default, of the other gradient alone
    surrogate = surrogates.get(None if bptt else args.surrogate)
    if surrogate is not None and args.scale_surrogate:
        surrogate = surrogate.scaled(args.threshold)
    return {
        "beta": args.beta,
        "threshold": args.threshold,
        "initial_membrane": args.initial_membrane,
        "reset_mechanism": "subtract",
        "signed": args.signed,
        "surrogate": surrogate,
    }


def train(model: keras.Model, args: argparse.Namespace, data: ksbp.datasets.ImageSet, seed: int) -> dict:
    """Trains a newly built network, or its counterpart with (rounded) ReLU, and tests it."""
    if args.ann:
        model = ksbp.ann_counterpart(model)
    if args.rounded:
        model = rounded_counterpart(
            model, num_steps=args.num_steps, threshold=args.threshold, initial_membrane=args.initial_membrane
        )
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
    history = flipped.fit(
        data.normalised(images),
        keras.utils.to_categorical(labels, data.classes),
        batch_size=args.batch_size,
        epochs=args.epochs,
        verbose=args.verbose,
    )
    seconds = time.perf_counter() - start
    result = {"seed": seed, "seconds": round(seconds), "training_accuracy": history.history["accuracy"][-1]}
    loops = sum(isinstance(layer, ksbp.SpikingRNN) for layer in model.layers)
    if loops != 1:  # no neurons, or layers on sequences: `analysis` takes a network of cells
        return {**result, "accuracy": flipped.evaluate(data.test_batches(200), verbose=0)[1]}
    done = ksbp.analysis.run(model, data.test_batches(200), verbose=0)
    neurons = {name: n for name, n in done.neurons.items() if name != "input"}
    spikes = {name: float(done.spikes[name].mean()) for name in neurons}
    operations = ksbp.analysis.operations(done).rows[-1]
    return {
        **result,
        "accuracy": float(done.correct()[:, -1].mean()),
        "firing_rates": {name: round(spikes[name] / n, 3) for name, n in neurons.items()},
        "firing_rate": round(sum(spikes.values()) / sum(neurons.values()), 3),
        "accumulates": round(operations["accumulates"]),
        "macs": round(operations["macs"]),
    }


@dataclasses.dataclass(frozen=True)
class ShortTrainings:
    """Trainings of one kind of network.

    Args:
        doc: the description for `--help`.
        network: the network of `(args, seed)`, built after Keras' seed was set.
        table: the rows of a table in docs/log/studies.md: options, and the name of the network.
        add_options: adds the options of the network to a parser.
        defaults: other defaults of the options that all have.
    """

    doc: str
    network: Callable[[argparse.Namespace, int], keras.Model]
    table: dict[str, str]
    add_options: Callable[[argparse.ArgumentParser], None]
    defaults: dict[str, object] = dataclasses.field(default_factory=dict)

    def fill(self, path: Path, data_dir: str | None, verbose: int) -> None:
        """Trains what is missing in the table at `path`."""
        saved = {row["network"]: row for row in json.loads(path.read_text())} if path.exists() else {}
        common = [*([f"--data-dir={data_dir}"] if data_dir else []), f"--verbose={verbose}"]
        for options, title in self.table.items():
            args = self.parse([*options.split(), *common])
            trainings = saved.get(title, {}).get("trainings", [])
            if len(trainings) < args.seeds:
                print(title, flush=True)
                saved[title] = {"network": title, "options": options, **self.measure(args, trainings)}
                write(path, list(saved.values()))

    def parse(self, arguments: list[str] | None = None) -> argparse.Namespace:
        parser = argparse.ArgumentParser(description=self.doc, allow_abbrev=False)
        parser.add_argument("--data-dir", help="folder of prepared data")
        parser.add_argument("--images", type=count, default=20_000, help="training images (default %(default)s)")
        parser.add_argument("--test-images", type=count, default=10_000)
        parser.add_argument("--seeds", type=count, default=1, help="training runs")
        parser.add_argument("--epochs", type=count, default=2)
        parser.add_argument("--num-steps", type=count, default=4)
        parser.add_argument("--gradient", default="accumulated", choices=GRADIENTS)
        parser.add_argument("--surrogate", default="bounded", choices=NAMES)
        parser.add_argument("--scale-surrogate", action="store_true", help="to the threshold")
        parser.add_argument("--beta", type=float, default=1.0)
        parser.add_argument("--threshold", type=float, default=2.0, help="with normalisation: in standard deviations")
        parser.add_argument("--initial-membrane", type=float, default=0.5)
        parser.add_argument("--signed", action="store_true", help="neurons that take spikes back")
        parser.add_argument("--batch-size", type=count, default=64)
        parser.add_argument("--learning-rate", type=float, default=1.5e-3)
        parser.add_argument("--weight-decay", type=float, default=0.02)
        parser.add_argument("--policy", default="mixed_bfloat16")
        parser.add_argument("--shift", type=int, default=0, help="maximum shift of training images, in pixels")
        counterparts = parser.add_mutually_exclusive_group()
        counterparts.add_argument("--ann", action="store_true", help="the same network with ReLU")
        counterparts.add_argument(
            "--rounded", action="store_true", help="the same network with ReLU rounded to spike counts"
        )
        parser.add_argument(
            "--table", type=Path, help="all rows of the table, into this file; with --data-dir and --verbose alone"
        )
        parser.add_argument("--verbose", type=int, default=PROGRESS)
        self.add_options(parser)
        parser.set_defaults(**self.defaults)
        args = parser.parse_args(arguments)
        if args.table is not None:
            usual = vars(parser.parse_args([])) | {
                name: getattr(args, name) for name in ("table", "data_dir", "verbose")
            }
            if vars(args) != usual:
                parser.error("--table has the options of its rows: only --data-dir and --verbose may stand beside it")
        for option, excluded in (("ann", OF_NEURONS), ("rounded", OF_TIME)):
            if vars(args)[option] and any(getattr(args, name) != parser.get_default(name) for name in excluded):
                parser.error(
                    f"--{option} has no spiking neurons: leave out "
                    + ", ".join(f"--{name.replace('_', '-')}" for name in excluded)
                )
        return args

    def measure(self, args: argparse.Namespace, trainings: list[dict] | None = None) -> dict:
        """A report of one row: `trainings` of its first seeds, and those that are missing."""
        data = ksbp.datasets.load_images("cifar10", args.data_dir)
        (images, labels), (test_images, test_labels) = data.train, data.test
        data = dataclasses.replace(
            data,
            train=(images[: args.images], labels[: args.images]),
            test=(test_images[: args.test_images], test_labels[: args.test_images]),
        )
        results = list(trainings or [])
        for seed in range(len(results), args.seeds):
            keras.utils.set_random_seed(seed)
            results.append(train(self.network(args, seed), args, data, seed))
            print(json.dumps(results[-1]), flush=True)
        report = {
            "accuracy": float(np.mean([result["accuracy"] for result in results])),
            "trainings": results,
            "machine": machine(),
        }
        print(f"mean accuracy of {args.seeds}: {report['accuracy']:.4f}")
        return report

    def main(self, arguments: list[str] | None = None) -> None:
        args = self.parse(arguments)
        if args.table is None:
            self.measure(args)
        else:
            self.fill(args.table, args.data_dir, args.verbose)
