"""Searches for accurate spiking networks with few spikes, on real digits; plots the Pareto front.

python -m examples.tune [--trials 12] [--epochs 3] [--output checkpoints/tune]

Data: 3,000 training digits of the MNIST-5k subset, 1,000 others to compare the trials (test digits are not used).
Writes `trials.csv` and `pareto.png` to the output folder; the same command resumes after an interruption.
Needs the extra `tuner`.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import keras
import keras_tuner

import keras_spiking_bp as ksbp
from examples import PROGRESS
from examples.plotting import plt
from examples.training import keep_settings
from keras_spiking_bp.analysis.style import BLUE, GREY
from keras_spiking_bp.training.tuning import SpikingHyperModel


def rows_of(tuner: keras_tuner.Tuner) -> list[dict]:
    """Accuracy, spikes, operations and hyper-parameters of each finished trial."""
    rows = []
    for name, trial in sorted(tuner.oracle.trials.items()):
        if trial.status == "COMPLETED":
            values = {key: trial.metrics.get_last_value(key) for key in ("val_accuracy", "spikes", "operations")}
            rows.append({"trial": name, **values, **trial.hyperparameters.values})
    return rows


def pareto(rows: list[dict]) -> list[dict]:
    """The trials that no other matches in accuracy with fewer spikes, sorted by spikes."""
    front: list[dict] = []
    for row in sorted(rows, key=lambda row: (row["spikes"], -row["val_accuracy"])):
        if not front or row["val_accuracy"] > front[-1]["val_accuracy"]:
            front.append(row)
    return front


def draw(rows: list[dict], path: Path) -> None:
    """Accuracy against spikes of all trials, with the front."""
    figure, axes = plt.subplots(figsize=(6.4, 4))
    axes.scatter([r["spikes"] for r in rows], [100 * r["val_accuracy"] for r in rows], color=GREY, label="trial")
    front = pareto(rows)
    axes.plot(
        [r["spikes"] for r in front], [100 * r["val_accuracy"] for r in front], color=BLUE, marker="o",
        drawstyle="steps-post", label="Pareto front",
    )  # fmt: skip
    for row in front:
        axes.annotate(f"T {row['num_steps']}, width {row['width']:g}", (row["spikes"], 100 * row["val_accuracy"]),
                      xytext=(5, -11), textcoords="offset points", fontsize="small")  # fmt: skip
    axes.set(xscale="log", xlabel="spikes per image (logarithmic)", ylabel="accuracy (%) on digits held out")
    axes.legend(loc="lower right")
    figure.savefig(path)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> list[dict]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--training-samples", type=int, default=3000)
    parser.add_argument("--held-out", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("checkpoints/tune"))
    parser.add_argument("--verbose", type=int, default=PROGRESS)
    args = parser.parse_args(arguments)
    (x, y), _ = ksbp.datasets.mnist_5k(args.seed)
    y = keras.utils.to_categorical(y, 10)
    n, m = args.training_samples, args.held_out
    if min(n, m) < 1 or n + m > len(x):
        parser.error(f"--training-samples and --held-out must be at least 1 and together at most {len(x)}: {n}, {m}")
    settings = {key: getattr(args, key) for key in ("epochs", "training_samples", "held_out", "seed")}
    args.output.mkdir(parents=True, exist_ok=True)
    keep_settings(args.output / "settings.json", settings, args.output)
    tuner = keras_tuner.RandomSearch(
        SpikingHyperModel((28, 28, 1), 10, seed=args.seed), objective=keras_tuner.Objective("val_accuracy", "max"),
        max_trials=args.trials, seed=args.seed, directory=args.output, project_name="trials",
    )  # fmt: skip
    tuner.search(
        x[:n], y[:n], validation_data=(x[n : n + m], y[n : n + m]), batch_size=32, epochs=args.epochs,
        verbose=args.verbose,
    )  # fmt: skip
    rows = rows_of(tuner)
    with (args.output / "trials.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    draw(rows, args.output / "pareto.png")
    for row in pareto(rows):
        print({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()})
    return rows


if __name__ == "__main__":
    main()
