"""A VGG9 that is nearly silent with the paper's initial weights and few time steps, and learns sooner once calibrated.

python -m examples.experiments.calibrate_vgg9 --data-dir FOLDER [--steps 150] [--output docs/calibration.json]

Trains the same network twice on the same batches of CIFAR-10, without and with `calibrate`, and records the firing
rates before training and the accuracy during training. `python -m docs.build.studies_page` writes the page.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras

import keras_spiking_bp as ksbp
from benchmarks.results import refuse_in_docs
from examples.experiments.machine import machine, made_with
from examples.experiments.report import write
from keras_spiking_bp.rnn.observe import activity_of, firing_rates
from keras_spiking_bp.rnn.spiking_model import input_over_time

NUM_STEPS, BATCH_SIZE, LEARNING_RATE, SEED = 25, 32, 1e-4, 0
PART = 50  # batches per accuracy value
STEPS = 150  # of the page


class Parts(keras.callbacks.Callback):
    """Mean training accuracy per `PART` batches."""

    def on_train_begin(self, logs=None):
        self.accuracy = []

    def on_train_batch_end(self, batch, logs=None):
        if (batch + 1) % PART == 0:
            self.accuracy.append(float(logs["accuracy"]))
            self.model.reset_metrics()


def train(images: ksbp.datasets.ImageSet, calibrated: bool, steps: int) -> dict:
    """Trains for `steps` batches."""
    keras.utils.set_random_seed(SEED)
    model = ksbp.models.spiking_vgg9(images.input_shape, images.classes, num_steps=NUM_STEPS, seed=SEED, preset="paper")
    batches = images.batches(BATCH_SIZE, seed=SEED)
    sample = next(iter(batches.epoch(0)))[0][:16]
    if calibrated:
        ksbp.calibrate(model, sample, 0.1, output_std=0.7, verbose=1)

    def rates() -> dict[str, float]:
        return firing_rates(activity_of(model)(input_over_time(model)(sample)), NUM_STEPS)

    before = rates()
    model.compile(
        keras.optimizers.Adam(LEARNING_RATE),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    parts = Parts()
    health = ksbp.callbacks.Health(sample, every=PART)
    model.fit(batches.epoch(0).take(steps), verbose=2, callbacks=[parts, health])
    return {
        "calibrated": calibrated,
        "rates_before": before,
        "rates_after": rates(),
        "accuracy": parts.accuracy,
        "machine": machine(),
    }


def section(runs: list[dict]) -> str:
    """The runs as Markdown."""
    names = list(runs[0]["rates_before"])
    ends = [PART * (i + 1) * BATCH_SIZE for i in range(len(runs[0]["accuracy"]))]
    lines = [
        f"VGG9 on CIFAR-10, T = {NUM_STEPS}, Poisson input, the paper's initial weights, batch size {BATCH_SIZE},",
        f"Adam, learning rate {LEARNING_RATE}, cross-entropy, `accumulated`, seed {SEED}; without and with",
        "`calibrate(model, images, 0.1, output_std=0.7)` on 16 training images.",
        "",
        "Spikes per neuron and time step, before and after training:",
        "",
        "| | " + " | ".join(names) + " |",
        "| --- |" + " --- |" * len(names),
    ]
    for run in runs:
        what = "calibrated" if run["calibrated"] else "not calibrated"
        for when in ("before", "after"):
            rates = run[f"rates_{when}"]
            lines.append(f"| {what}, {when} | " + " | ".join(f"{rates[name]:.4f}" for name in names) + " |")
    lines += [
        "",
        f"Training accuracy, mean over every {PART} batches:",
        "",
        "| | " + " | ".join(f"to image {end:,}" for end in ends) + " |",
        "| --- |" + " --- |" * len(ends),
    ]
    for run in runs:
        what = "calibrated" if run["calibrated"] else "not calibrated"
        lines.append(f"| {what} | " + " | ".join(f"{a:.3f}" for a in run["accuracy"]) + " |")
    command = "python -m examples.experiments.calibrate_vgg9 --data-dir FOLDER"
    lines += ["", f"`{command}`; {made_with(run['machine'] for run in runs)}."]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"batches, a multiple of {PART}")
    parser.add_argument("--output", type=Path, default=Path("docs/calibration.json"))
    args = parser.parse_args(arguments)
    if args.steps < PART or args.steps % PART:
        parser.error(f"--steps must be a multiple of {PART}. Received: {args.steps}")
    if args.steps != STEPS:
        refuse_in_docs(parser, args.output, "this is not the training of the page")
    images = ksbp.datasets.load_images("cifar10", args.data_dir)
    runs = [train(images, calibrated, args.steps) for calibrated in (False, True)]
    write(args.output, runs)
    print(section(runs))


if __name__ == "__main__":
    main()
