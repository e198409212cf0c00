"""Seconds per epoch of `model.fit`: `python -m benchmarks.fit --data-dir FOLDER --output FILE [--rounds 1]`.

* VGG9 on CIFAR-10 by its recipe (T = 4, batch 64, bf16 synapses, batch normalisation), without and with the kernels.
* A small network, 784-100-10 with 25 time steps, for the overhead of Keras and Python: `fit`, `fit` with 16 steps per
  call of the graph (`steps_per_execution`), and the graph alone.

Each case runs in its own process: a short warm-up epoch, then the measured one. Leave the machine idle.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_spiking_bp as ksbp
from benchmarks import machine, sections
from benchmarks.case import timed
from benchmarks.results import refuse_in_docs, refuse_to_replace, write
from examples.experiments.recipes import recipe

WARM_UP = 20  # steps of the warm-up epoch
SMALL_STEPS, SMALL_BATCH = 960, 64


def vgg9(data_dir: str | None, kernels: bool, steps: int | None) -> dict:
    """An epoch of CIFAR-10."""
    ksbp.kernels.enable(kernels)  # whatever the environment says
    keras.utils.set_random_seed(0)
    chosen = dataclasses.replace(recipe("vgg9", "cifar10"), policy="mixed_bfloat16")
    batches = ksbp.datasets.load_images("cifar10", data_dir).batches(chosen.batch_size, chosen.augment, 0)
    model = chosen.build((32, 32, 3), 10, chosen.num_steps, 0)
    chosen.compile(model, batches.steps_per_epoch)
    model.fit(batches.epoch(0).take(WARM_UP), verbose=0)
    steps = min(steps or batches.steps_per_epoch, batches.steps_per_epoch)
    data = batches.epoch(1).take(steps)
    return {"steps": steps, "seconds": timed(lambda: model.fit(data, verbose=0))}


def small(how: str) -> dict:
    """`SMALL_STEPS` steps of a small network."""
    ksbp.kernels.enable(False)  # whatever the environment says
    keras.utils.set_random_seed(0)
    cells = [ksbp.LIFCell(keras.layers.Dense(100)), ksbp.ReadoutCell(keras.layers.Dense(10))]
    images = keras.Input((784,))
    outputs = ksbp.SpikingRNN(ksbp.SequentialCell(cells))(ksbp.PoissonEncoder(25)(images))
    model = keras.Model(images, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    together = 1 if how == "fit" else 16
    model.compile(keras.optimizers.Adam(), loss, metrics=["accuracy"], steps_per_execution=together)
    rng = np.random.default_rng(0)
    x = rng.random((SMALL_STEPS * SMALL_BATCH, 784), "float32")
    y = rng.integers(0, 10, len(x))
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(SMALL_BATCH, drop_remainder=True).cache()
    model.fit(data.take(2 * together), verbose=0)
    for _ in data:  # into the cache
        pass
    if how == "graph":
        batches, train = iter(data.repeat()), model.train_function
        run = lambda: [train(batches) for _ in range(SMALL_STEPS // together)]  # noqa: E731
    else:
        run = lambda: model.fit(data, verbose=0)  # noqa: E731
    return {"steps": SMALL_STEPS, "seconds": timed(run)}


CASES = {
    "VGG9 on CIFAR-10": lambda args: vgg9(args.data_dir, False, args.steps),
    "VGG9 on CIFAR-10, C++ kernels": lambda args: vgg9(args.data_dir, True, args.steps),
    "784-100-10, `fit`": lambda args: small("fit"),
    "784-100-10, `fit` with steps_per_execution=16": lambda args: small("fit_16"),
    "784-100-10, the graph alone": lambda args: small("graph"),
}


def main() -> None:
    machine.hide_gpus()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder of prepared data")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--steps", type=int, help="steps of CIFAR-10 (default: an epoch)")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--output", type=Path, default=Path("docs/fit.json"))
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # one case in this process
    args = parser.parse_args()
    if args.here:
        print(json.dumps(CASES[args.cases[0]](args)))
        return
    if args.steps:
        refuse_in_docs(parser, args.output, "--steps measures a part of an epoch")
    here = machine.describe()
    report = {"machine": here, "cases": {}}
    if set(args.cases) < set(CASES) and args.output.exists():  # the others stay
        report = json.loads(args.output.read_text())
        if not machine.same(report["machine"], here):
            parser.error(f"{args.output} was measured {machine.ELSEWHERE}")
    else:
        refuse_to_replace(parser, args.output)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    report["cases"] |= {title: [] for title in args.cases}
    for _ in range(args.rounds):
        for title in args.cases:
            command = [sys.executable, "-m", "benchmarks.fit", "--here", "--cases", title]
            command += ["--data-dir", args.data_dir] if args.data_dir else []
            command += ["--steps", str(args.steps)] if args.steps else []
            ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            report["cases"][title].append(json.loads(ran.stdout.splitlines()[-1]))
    write(args.output, report)
    print("\n".join(sections.fit(report)))


if __name__ == "__main__":
    main()
