"""Searches for accurate spiking networks with few spikes, on real digits: python -m examples.tune."""

import argparse
import csv
from pathlib import Path

import keras
import keras_tuner
import matplotlib.pyplot as plt

import keras_spiking_bp as ksbp
from examples import PROGRESS
from keras_spiking_bp.training.tuning import SpikingHyperModel


def pareto(rows):
    """The trials that no other matches in accuracy with fewer spikes, sorted by spikes."""
    front = []
    for row in sorted(rows, key=lambda row: (row["spikes"], -row["val_accuracy"])):
        if not front or row["val_accuracy"] > front[-1]["val_accuracy"]:
            front.append(row)
    return front


def draw(rows, path):
    """Accuracy against spikes of all trials, with the front."""
    figure, axes = plt.subplots(figsize=(6.4, 4))
    for shown, style in ((rows, {"marker": "o", "linestyle": "", "color": "grey"}), (pareto(rows), {"marker": "o"})):
        axes.plot([r["spikes"] for r in shown], [100 * r["val_accuracy"] for r in shown], **style)
    axes.set(xscale="log", xlabel="spikes per image (logarithmic)", ylabel="accuracy (%) on digits held out")
    figure.savefig(path)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--training-samples", type=int, default=3000, help="of the 4,000; 1,000 others are held out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("checkpoints/tune"), help="the same one resumes a search")
    parser.add_argument("--verbose", type=int, default=PROGRESS)
    args = parser.parse_args(arguments)
    (x, y), _ = ksbp.datasets.mnist_5k(args.seed)
    y = keras.utils.to_categorical(y, 10)
    n = min(args.training_samples, len(x) * 3 // 4)
    tuner = keras_tuner.RandomSearch(
        SpikingHyperModel((28, 28, 1), 10, seed=args.seed),
        objective=keras_tuner.Objective("val_accuracy", "max"),
        max_trials=args.trials,
        seed=args.seed,
        directory=args.output,
        project_name=f"{args.epochs}-epochs-{n}-digits-seed-{args.seed}",
    )
    held_out = (x[n : n + 1000], y[n : n + 1000])
    tuner.search(x[:n], y[:n], validation_data=held_out, batch_size=32, epochs=args.epochs, verbose=args.verbose)
    rows = []
    for name, trial in sorted(tuner.oracle.trials.items()):
        if trial.status == "COMPLETED":
            values = {key: float(trial.metrics.get_last_value(key)) for key in ("val_accuracy", "spikes", "operations")}
            rows.append({"trial": name, **values, **trial.hyperparameters.values})
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
