"""Trains one of the paper's networks, or ResNet20, on a data set of `recipes`; writes a report. Resumes if interrupted.

python -m examples.experiments.reproduce --network lenet --dataset mnist [--recipe fast] [--epochs 12] [...]

Output, in a folder of `checkpoints` or `--output`: the checkpoint (from which the same command resumes), `recipe.json`,
`curve.csv`, TensorBoard logs, `model.keras`, and at the end `report.json`.

`--ann` trains the network with ReLU for neurons, which takes less time; `--start` of its `model.keras` goes on from its
weights, best with a smaller learning rate; `--distill` then takes its outputs as targets beside the labels.

`--strategy mirrored` trains on all GPUs of the machine; on one device `callbacks.Health` monitors the training of a
spiking network. For another number of time steps in the test, statistics of batch normalisation are taken anew.
`model.keras` is the tested network, not compiled.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import itertools
import json
import math
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_spiking_bp as ksbp
from examples import PROGRESS
from examples.experiments.machine import machine
from examples.experiments.recipes import RECIPES, Recipe, recipe
from examples.experiments.report import command, test, test_ann, write
from keras_spiking_bp.export.atomic import written_whole
from keras_spiking_bp.training.saver import has_finite_state

#: Recipe fields the command line can override.
OVERRIDES = [field for field in dataclasses.fields(Recipe) if field.name not in ("network", "dataset", "drop_epochs")]


class Curve(keras.callbacks.Callback):
    """Writes a row of `curve.csv` after each epoch: its logs, learning rate and seconds.

    The seconds of an interrupted epoch are kept in `seconds.json`, written every `every` batches.
    """

    def __init__(self, path: Path, every: int):
        super().__init__()
        self.path = path
        self.every = every
        self._unfinished = path.with_name("seconds.json")

    def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader(self.path.open())) if self.path.exists() else []

    def on_epoch_begin(self, epoch, logs=None):
        before = json.loads(self._unfinished.read_text()) if self._unfinished.exists() else {}
        self._epoch = epoch
        self._start = time.perf_counter() - before.get(str(epoch), 0.0)

    def on_train_batch_end(self, batch, logs=None):
        if (batch + 1) % self.every == 0:
            _write(self._unfinished, json.dumps({self._epoch: time.perf_counter() - self._start}))

    def on_epoch_end(self, epoch, logs=None):
        if self.model.stop_training:  # mid-epoch
            _write(self._unfinished, json.dumps({epoch: time.perf_counter() - self._start}))
            return
        row = {
            "epoch": epoch + 1,
            **{name: f"{value:.6g}" for name, value in logs.items()},
            "learning_rate": f"{float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)):.6g}",
            "seconds": f"{time.perf_counter() - self._start:.1f}",
        }
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, row)
        writer.writeheader()
        writer.writerows([r for r in self.rows() if int(r["epoch"]) <= epoch] + [row])
        _write(self.path, text.getvalue())
        self._unfinished.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    """Writes atomically, without changing line ends."""
    with written_whole(path, overwrite=True) as part:
        part.write_text(text, newline="")


def take_statistics(model: keras.Model, batches: ksbp.datasets.Batches) -> None:
    """Recomputes batch normalisation statistics on 1,024 samples: the moving ones are those of the last few batches.

    They depend on the number of time steps, so `model` is the one to be tested.
    """
    needed = math.ceil(1024 / batches.batch_size)
    inputs = np.concatenate([x for x, _ in itertools.islice(batches.epoch(0), needed)])
    ksbp.training.update_statistics(model, inputs)


def load(args: argparse.Namespace, chosen: Recipe):
    """The data: training set, and the test set or the validation split in its place."""
    if chosen.dataset == "nmnist":
        data = ksbp.datasets.load_nmnist(args.data_dir, chosen.num_steps)
    else:
        data = ksbp.datasets.load_images(chosen.dataset, args.data_dir)
    return data.with_validation(args.validation, args.seed) if args.validation else data


def refuse_another(path: Path, own: dict) -> None:
    """Refuses to continue with another recipe than the one recorded in this folder."""
    if not path.exists():
        return
    there = json.loads(path.read_text())
    differs = [f"{name} {there.get(name)} -> {value}" for name, value in own.items() if there.get(name) != value]
    if differs:
        raise SystemExit(
            f"{path.parent} holds a training with another recipe: {', '.join(differs)}. Give another --output"
        )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--network", required=True)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--recipe", choices=list(RECIPES), help="default: the first of these that has one")
    for field in OVERRIDES:
        option = f"--{field.name.replace('_', '-')}"
        kind = field.type.split(" |")[0]
        if kind == "bool":
            parser.add_argument(option, action=argparse.BooleanOptionalAction)
        else:
            note = "none: without" if field.type == "str | None" else None
            parser.add_argument(option, type={"int": int, "float": float, "str": str}[kind], help=note)
    parser.add_argument("--ann", action="store_true", help="its ANN, with ReLU for neurons, by the same recipe")
    parser.add_argument("--start", type=Path, help="model.keras of its ANN, for the first weights")
    parser.add_argument("--distill", action="store_true", help="learn from the outputs of --start, too")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validation", type=int, default=0, help="held-out training samples to test on instead")
    parser.add_argument("--data-dir", help="folder of prepared data")
    parser.add_argument("--data-note", default="", help="note on the data for the report, e.g. 'lossy copy'")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--save-every", type=int, default=200, help="batches between checkpoints")
    parser.add_argument("--strategy", default="one", choices=["one", "mirrored"], help="which devices")
    parser.add_argument("--verbose", type=int, default=PROGRESS)
    args = parser.parse_args(arguments)
    if args.dataset == "nmnist" and args.data_dir is None:
        parser.error("--dataset nmnist needs --data-dir: N-MNIST is not downloaded")
    if args.distill and not args.start:
        parser.error("--distill needs --start")
    if args.output is None:
        names = [args.network, args.dataset, args.recipe, args.ann and "ann", f"seed{args.seed}"]
        args.output = Path("checkpoints") / "-".join(filter(None, names))
    return args


def recipe_of(args: argparse.Namespace) -> Recipe:
    """The recipe named on the command line, with its overrides."""
    changes = {f.name: getattr(args, f.name) for f in OVERRIDES if getattr(args, f.name) is not None}
    changes |= {f.name: None for f in OVERRIDES if f.type == "str | None" and changes.get(f.name) == "none"}
    return dataclasses.replace(recipe(args.network, args.dataset, args.recipe), **changes)


def main(arguments: list[str] | None = None) -> dict:
    args = parse(arguments)
    chosen = recipe_of(args)
    strategy = tf.distribute.MirroredStrategy() if args.strategy == "mirrored" else tf.distribute.get_strategy()
    data = load(args, chosen)
    options = {name: getattr(args, name) for name in ("seed", "validation", "ann", "distill")}
    options["start"] = args.start and str(args.start)
    own = json.loads(json.dumps({**dataclasses.asdict(chosen), **options}))
    refuse_another(args.output / "recipe.json", own)
    start = None
    if args.start:
        of_start = json.loads(args.start.with_name("report.json").read_text())
        start = {key: of_start[key] for key in ("command", "training_seconds")}
    keras.utils.set_random_seed(args.seed)
    batches = data.batches(chosen.batch_size, chosen.augment, args.seed)

    def build(num_steps: int) -> keras.Model:
        network = chosen.build(data.input_shape, data.classes, num_steps, args.seed)
        return ksbp.ann_counterpart(network) if args.ann else network

    with strategy.scope():
        model = learner = build(chosen.num_steps)
        sample = next(iter(batches.epoch(0)))[0][:16]
        if args.start:
            ann = keras.saving.load_model(args.start, compile=False)
            ksbp.copy_weights(ann, model)
            if args.distill:
                learner = keras.distillation.Distiller(ann, model, keras.distillation.LogitsDistillation())
                learner(sample)
        chosen.compile(learner, batches.steps_per_epoch)
    args.output.mkdir(parents=True, exist_ok=True)
    write(args.output / "recipe.json", own)  # not before: it may be one that cannot be trained with
    curve = Curve(args.output / "curve.csv", args.save_every)
    callbacks = [curve, keras.callbacks.TensorBoard(args.output / "tensorboard")]
    if args.strategy == "one" and learner is model and not args.ann:
        callbacks.append(ksbp.callbacks.Health(sample, every=args.save_every))
    losses = ksbp.training.fit(
        learner, batches, chosen.epochs, args.output / "checkpoint", args.save_every, callbacks, verbose=args.verbose
    ).history.get("loss", [])
    if len(losses) < chosen.epochs:
        raise SystemExit(
            f"The training was stopped after {len(losses)} of {chosen.epochs} epochs: the warnings say why"
        )
    if not (math.isfinite(losses[-1]) and has_finite_state(learner)):
        raise SystemExit(f"The training broke down, its loss is {losses[-1]}: take a smaller learning rate")

    # events are binned into steps by the data set, images become spikes in the network
    test_data = dataclasses.replace(data, num_steps=chosen.test_steps) if chosen.dataset == "nmnist" else data
    tester = build(chosen.test_steps)
    tester.set_weights(model.get_weights())
    if chosen.preset == "deep" and chosen.test_steps != chosen.num_steps and not args.ann:
        take_statistics(tester, test_data.batches(chosen.batch_size, chosen.augment, args.seed))
    tested = (test_ann if args.ann else test)(tester, test_data.test_batches(200))
    with written_whole(args.output / "model.keras", overwrite=True) as part:
        tester.save(part)
    rows = curve.rows()
    report = {
        "command": command(arguments, "examples.experiments.reproduce"),
        "recipe": dataclasses.asdict(chosen),
        "seed": args.seed,
        "ann": args.ann,
        "start": start,
        "data": {
            "name": chosen.dataset,
            "training_samples": batches.num_examples,
            "tested_on": f"{args.validation} samples of the training set" if args.validation else "test set",
            "note": args.data_note,
        },
        "test": tested,
        "training_seconds": sum(float(row["seconds"]) for row in rows),
        "curve": rows,
        "machine": {
            "strategy": args.strategy,
            "devices": strategy.num_replicas_in_sync,
            **machine(),
        },
    }
    write(args.output / "report.json", report)
    print(json.dumps(report, indent=1))
    return report


if __name__ == "__main__":
    main()
