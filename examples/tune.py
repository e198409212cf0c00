"""Searches for accurate spiking networks with few spikes, on real digits: python -m examples.tune."""

import argparse
import csv
from pathlib import Path

import keras
import keras_tuner
import matplotlib.pyplot as plt

import keras_spiking_bp as ksbp
from examples import PROGRESS


class Digits(keras_tuner.HyperModel):
    """Spiking LeNets; a trial reports, of the validation data, accuracy, and spikes and operations of a sample."""

    def __init__(self, seed):
        super().__init__()
        self.seed = seed

    def build(self, hp):
        width = hp.Choice("width", (0.5, 1.0, 2.0), default=1.0)
        filters = [max(1, round(width * size)) for size in (20, 50, 200)]
        model = ksbp.models.spiking_vgg(
            (28, 28, 1), 10, [(filters[0], 5), "pool", (filters[1], 5), "pool"], [filters[2]], preset="paper",
            beta=hp.Choice("beta", (0.9, 0.95, 0.98, 0.99, 0.995, 1.0), default=0.99),
            threshold=hp.Float("threshold", 0.5, 2.0, sampling="log", default=1.0),
            dropout=hp.Float("dropout", 0.0, 0.4, step=0.1, default=0.0),
            encoder=ksbp.PoissonEncoder(hp.Int("num_steps", 5, 30, step=5, default=20), 0.5, seed=self.seed),
            seed=self.seed,
        )  # fmt: skip
        rate = hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=1e-3)
        model.compile(keras.optimizers.Adam(rate), ksbp.losses.SumSquaredError(), metrics=["accuracy"])
        return model

    def fit(self, hp, model, x, y, validation_data, **kwargs):
        model.fit(x, y, **kwargs)
        inputs, labels = validation_data
        done = ksbp.analysis.run(model, inputs, labels, verbose=0)
        last = ksbp.analysis.accuracy_over_time(done).rows[-1]
        operations = last["accumulates"] + last["macs"]
        return {"val_accuracy": last["accuracy"], "spikes": last["spikes"], "operations": operations}


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
        Digits(args.seed),
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
