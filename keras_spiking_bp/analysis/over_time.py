"""Accuracy, spikes and operations against the number of time steps, from one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_spiking_bp.analysis import pictures
from keras_spiking_bp.analysis.run import Run, as_run
from keras_spiking_bp.analysis.table import Table
from keras_spiking_bp.utils.validation import check_share

#: The columns of a run, in their order, where operations are not counted.
_UNCOUNTED = dict.fromkeys(("spikes", "accumulates", "macs"))


def steps_to_reach(rows: Sequence[dict[str, Any]], accuracy: float) -> int | None:
    """As `AccuracyOverTime.steps_to_reach`, from rows like its own, one for each number of steps from 1."""
    below = [row["steps"] for row in rows if row["accuracy"] < accuracy]
    steps = (below[-1] if below else 0) + 1
    return steps if steps <= len(rows) else None


class AccuracyOverTime(Table):
    """A row for each number of time steps: the accuracy after them, and the mean spikes and operations so far.

    Operations are None where they cannot be counted.

    Attributes:
        run: the pass that the rows come from.
    """

    def __init__(self, run: Run):
        self.run = run
        accuracy = run.correct().mean(0)
        spent = {name: values.mean(0) for name, values in run.so_far().items()}
        super().__init__(
            [
                {"steps": t + 1, "accuracy": float(accuracy[t])}
                | _UNCOUNTED
                | {name: float(values[t]) for name, values in spent.items()}
                for t in range(run.num_steps)
            ]
        )

    def steps_to_reach(self, accuracy: float) -> int | None:
        """The smallest number of steps from which the accuracy stays at least `accuracy`; None if there is none.

        Raises:
            ValueError: if `accuracy` is not from 0 to 1.
        """
        check_share("accuracy", accuracy)
        return steps_to_reach(self.rows, accuracy)

    def early_exit(self, margins: Sequence[float]) -> Table:
        """Accuracy, spikes and operations if each sample stops early.

        A sample stops at the first step at which its largest output `V[t] / t` exceeds the second largest by more than
        the margin; if there is none, it takes all steps.

        Args:
            margins: margins to try.

        Returns:
            A table with a row for each margin: `margin`, `accuracy`, and the means over the samples of `steps`,
            `spikes`, `accumulates` and `macs`.
        """
        second, first = np.moveaxis(np.partition(self.run.outputs, -2, axis=-1)[..., -2:], -1, 0)
        correct, spent = self.run.correct(), self.run.so_far()
        samples = np.arange(self.run.samples)
        rows = []
        for margin in margins:
            sure = first - second > margin
            sure[:, -1] = True
            at = sure.argmax(1)
            row = {
                "margin": float(margin),
                "accuracy": float(correct[samples, at].mean()),
                "steps": float(self.run.steps[samples, at].mean()),
            }
            means = {name: float(values[samples, at].mean()) for name, values in spent.items()}
            rows.append(row | _UNCOUNTED | means)
        return Table(rows)

    def plot(self, axes: Any = None) -> Any:
        """Draws accuracy and spikes against time steps; takes and returns the two matplotlib axes."""
        return pictures.accuracy_over_time(self, axes)


def accuracy_over_time(
    model: keras.Model | Run, data: Any = None, labels: Any = None, batch_size: int = 50, verbose: int = 1
) -> AccuracyOverTime:
    """Accuracy after 1, 2, ... T time steps, and the spikes and operations spent until then, in ONE pass.

    The prediction after t steps is the class with the largest `V[t] / t`.

    Args:
        model: a built model with one `SpikingRNN`, or an `analysis.Run`.
        data, labels, batch_size, verbose: as in `analysis.run`.

    Returns:
        A table with a row for each number of steps: `steps`, `accuracy`, and per sample `spikes` (of all neurons, not
        of the input), `accumulates` and `macs` (None if `analysis.operations` cannot count them); with methods
        `steps_to_reach`, `early_exit` and `plot`.

    Raises:
        TypeError, ValueError: as `analysis.run`; ValueError too if there are no labels, or no output for each of two or
            more classes.

    Example:
        >>> model = models.spiking_vgg((8, 8, 1), 3, [(4, 3), "pool"], [16], num_steps=10, seed=0)
        >>> images = np.random.default_rng(0).uniform(0, 1, (6, 8, 8, 1)).astype("float32")
        >>> curve = analysis.accuracy_over_time(model, images, np.arange(6) % 3, verbose=0)
        >>> len(curve), curve.early_exit([0.0]).rows[0]["steps"] <= 10
        (10, True)
    """
    return AccuracyOverTime(as_run(model, data, labels, batch_size, verbose, classified=True))
