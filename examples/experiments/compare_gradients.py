"""Trains the spiking LeNet with `accumulated` and `bptt` and several seeds.

python -m examples.experiments.compare_gradients [--seeds 3] [--epochs 5] [--output docs/gradients.json]

Data: the MNIST-5k subset (4,000 training, 1,000 test digits). The seed fixes the split, the initial weights, the input
spikes and the order of the data. Each finished run is saved: an interrupted comparison resumes. `python -m
docs.build.studies_page` writes the page.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_spiking_bp as ksbp
from examples.experiments.machine import machine, made_with
from examples.experiments.report import write

NUM_STEPS, BATCH_SIZE, LEARNING_RATE, MOMENTUM = 25, 32, 0.002, 0.9


def train(gradient: str, seed: int, epochs: int) -> dict[str, Any]:
    """One training run; its training and test accuracy."""
    keras.utils.set_random_seed(seed)
    (x_train, y_train), (x_test, y_test) = ksbp.datasets.mnist_5k(seed)
    encoder = ksbp.PoissonEncoder(NUM_STEPS, scale=0.5, seed=seed)
    model = ksbp.models.spiking_lenet(encoder=encoder, gradient=gradient, seed=seed)
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, epochs * len(x_train) // BATCH_SIZE)
    model.compile(
        keras.optimizers.SGD(rate, momentum=MOMENTUM),
        loss=ksbp.losses.SparseSumSquaredError(),
        metrics=["accuracy"],
    )
    history = model.fit(x_train, y_train, batch_size=BATCH_SIZE, epochs=epochs, verbose=2)
    _, accuracy = model.evaluate(x_test, y_test, batch_size=100, verbose=0)
    return {
        "gradient": gradient,
        "seed": seed,
        "epochs": epochs,
        "test_accuracy": accuracy,
        "train_accuracy": history.history["accuracy"][-1],
        "machine": machine(),
    }


def section(runs: list[dict[str, Any]]) -> str:
    """The runs as Markdown."""
    (epochs,) = {run["epochs"] for run in runs}
    seeds = sorted({run["seed"] for run in runs})
    lines = [
        f"Spiking LeNet, MNIST-5k subset (4,000 training, 1,000 test digits), T = {NUM_STEPS}, Poisson input",
        f"with probability x / 2, batch size {BATCH_SIZE}, SGD, momentum {MOMENTUM}, learning rate {LEARNING_RATE}",
        f"with cosine decay, {epochs} epochs, no dropout. Test accuracy after the last epoch.",
        "",
        "| gradient | " + " | ".join(f"seed {seed}" for seed in seeds) + " | mean | range |",
        "| --- |" + " --- |" * (len(seeds) + 2),
    ]
    for gradient in ("accumulated", "bptt"):
        own = sorted((r for r in runs if r["gradient"] == gradient), key=lambda r: r["seed"])
        accuracies = [r["test_accuracy"] for r in own]
        lines.append(
            f"| `{gradient}` | "
            + " | ".join(f"{a:.3f}" for a in accuracies)
            + f" | {np.mean(accuracies):.4f} | {min(accuracies):.3f} to {max(accuracies):.3f} |"
        )
    lines += [
        "",
        f"`python -m examples.experiments.compare_gradients --output FILE`; "
        f"{made_with(run['machine'] for run in runs)}.",
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("docs/gradients.json"))
    args = parser.parse_args(arguments)
    runs = json.loads(args.output.read_text()) if args.output.exists() else []
    for seed in range(args.seeds):
        for gradient in ("accumulated", "bptt"):
            if any((r["gradient"], r["seed"], r["epochs"]) == (gradient, seed, args.epochs) for r in runs):
                continue
            runs.append(train(gradient, seed, args.epochs))
            print(runs[-1], flush=True)
            write(args.output, runs)
    print(section([run for run in runs if run["epochs"] == args.epochs and run["seed"] < args.seeds]))


if __name__ == "__main__":
    main()
