"""How close each gradient of a deep network is to the slope of its loss: the table of docs/gradient-choice.md.

python -m docs.build.gradient_slopes [--page docs/gradient-choice.md]

Six dense layers of 48 LIF neurons, initial weights calibrated to a firing rate of 0.12, 25 time steps of 1,000 samples
of random spikes; the loss is a linear function of the rates of the last layer. In each layer, the norm of the gradient
is divided by the slope of the loss in its direction, a central difference with steps of 3 % of the weights: 1 where the
loss changes as much as the gradient says, 2 where it changes half as much (too long, or partly in another direction).
Three seeds. Takes a minute.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

import keras_spiking_bp as ksbp
from benchmarks.markdown import table
from docs.build.blocks import replaced
from examples.experiments.machine import machine, made_with
from keras_spiking_bp.gradients.surrogates import ATan, Bounded, Surrogate, Triangle

PAGE = Path(__file__).parents[2] / "docs/gradient-choice.md"
MAKER = "python -m docs.build.gradient_slopes"
LAYERS, UNITS, NUM_STEPS, SAMPLES, STEP, SEEDS = 6, 48, 25, 1000, 0.03, 3


class Row(NamedTuple):
    """A gradient, and the neurons that it is of."""

    gradient: str
    surrogate: Surrogate | None
    reset: str
    threshold: float = 1.0

    def cells(self) -> list[str]:
        """As the table shows it."""
        threshold = f", threshold {self.threshold:g}" if self.threshold != 1 else ""
        return [f'`"{self.gradient}"`', f"`{self.surrogate!r}`", f'`"{self.reset}"`{threshold}']


ROWS = [
    Row("accumulated", None, "zero"),
    Row("accumulated", None, "subtract"),
    Row("accumulated", Bounded(), "zero"),
    Row("accumulated", Bounded(), "subtract"),
    Row("accumulated", Triangle(), "zero"),
    Row("accumulated", Triangle(), "subtract"),
    Row("accumulated", Triangle(2.0), "subtract", 2.0),
    Row("accumulated", ATan(), "zero"),
    Row("bptt", None, "zero"),
    Row("bptt", Triangle(), "zero"),
    Row("bptt", Triangle(), "subtract"),
    Row("bptt", ATan(), "zero"),
]


def network(row: Row, layers: int = LAYERS, seed: int = 0) -> keras.Model:
    """Dense layers whose outputs are firing rates."""

    def layer(i: int) -> ksbp.LIFCell:
        initial = keras.initializers.RandomNormal(0, 0.2 * row.threshold, seed=100 * seed + i)
        dense = keras.layers.Dense(UNITS, use_bias=False, kernel_initializer=initial)
        return ksbp.LIFCell(
            dense, beta=0.99, threshold=row.threshold, reset_mechanism=row.reset, surrogate=row.surrogate
        )

    cell = ksbp.SequentialCell([layer(i) for i in range(layers)])
    return keras.Sequential([keras.Input((NUM_STEPS, UNITS)), ksbp.SpikingRNN(cell, gradient=row.gradient)])


def random_spikes(samples: int = SAMPLES, seed: int = 0) -> np.ndarray:
    """Spikes (B, T, units), for each sample and unit with another probability."""
    rng = np.random.default_rng(seed)
    return (rng.random((samples, NUM_STEPS, UNITS)) < rng.uniform(0, 0.4, (samples, 1, UNITS))).astype("float32")


def ratios(row: Row, seed: int = 0) -> list[float]:
    """Of each layer: the norm of the gradient, divided by the slope of the loss in its direction."""
    model, x = network(row, seed=seed), random_spikes(seed=seed)
    ksbp.calibrate(model, x, 0.12)
    weights = np.random.default_rng(100 + seed).normal(size=UNITS).astype("float32")

    def loss() -> tf.Tensor:
        return tf.reduce_mean(tf.linalg.matvec(model(x), weights))

    with tf.GradientTape() as tape:
        value = loss()
    gradients, compiled, found = tape.gradient(value, model.trainable_variables), tf.function(loss), []
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        before, norm = variable.numpy(), float(tf.norm(gradient))
        length = STEP * np.linalg.norm(before)
        losses = []
        for sign in (1, -1):
            variable.assign(before + sign * length * gradient / norm)
            losses.append(float(compiled()))
        variable.assign(before)
        found.append(norm / ((losses[0] - losses[1]) / (2 * length)))
    return found


def _short(ratio: float) -> str:
    return f"{ratio:.3g}" if ratio < 1000 else f"{ratio:.0f}"


def section() -> str:
    """The table, measured."""
    lines = []
    for row in ROWS:
        found = np.transpose([ratios(row, seed) for seed in range(SEEDS)])
        lines.append([*row.cells(), *(f"{_short(layer.min())} to {_short(layer.max())}" for layer in found)])
        print(*lines[-1], flush=True)
    header = ["`gradient`", "`surrogate`", "`reset_mechanism`", "layer 1", *map(str, range(2, LAYERS + 1))]
    return f"{table(header, lines)}\n{made_with([machine()])}."


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", type=Path, default=PAGE)
    page = parser.parse_args(arguments).page
    page.write_text(replaced(page.read_text(), MAKER, section()))


if __name__ == "__main__":
    main()
