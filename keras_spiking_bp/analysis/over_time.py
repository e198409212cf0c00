"""Accuracy, spikes and operations against the number of time steps, from one pass."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_spiking_bp.analysis import pictures
from keras_spiking_bp.analysis.run import Run, as_run
from keras_spiking_bp.analysis.table import Table
from keras_spiking_bp.utils.validation import check_share


def steps_to_reach(rows: Sequence[dict[str, Any]], accuracy: float) -> int | None:
    """As `AccuracyOverTime.steps_to_reach`, from rows like its own, one for each number of steps from 1."""
    below = [row["steps"] for row in rows if row["accuracy"] < accuracy]
    steps = (below[-1] if below else 0) + 1
    return steps if steps <= len(rows) else None


class AccuracyOverTime(Table):
    """A row for each number of time steps: the accuracy after them, and the mean spikes and operations so far.

    Operations are None where they cannot be counted. `run` is the pass that the rows come from.
    """

    def __init__(self, run: Run):
        self.run = run
        self._correct, self._spent = run.correct(), run.so_far()
        super().__init__([{"steps": t + 1, **self._means(t)} for t in range(run.num_steps)])

    def _means(self, at: np.ndarray | int) -> dict[str, Any]:
        """Accuracy, spikes and operations if each sample stops at the step `at`, from 0."""
        samples = np.arange(self.run.samples)
        means = dict.fromkeys(("accuracy", "spikes", "accumulates", "macs"))
        of_samples = {"accuracy": self._correct, **self._spent}
        return means | {name: float(values[samples, at].mean()) for name, values in of_samples.items()}

    def steps_to_reach(self, accuracy: float) -> int | None:
        """The smallest number of steps from which the accuracy stays at least this, from 0 to 1; None if none does."""
        check_share("accuracy", accuracy)
        return steps_to_reach(self.rows, accuracy)

    def early_exit(self, margins: Sequence[float]) -> Table:
        """Accuracy, spikes and operations if each sample stops early.

        A sample stops at the first step at which its largest output `V[t] / t` exceeds the second largest by more than
        the margin; if there is none, it takes all steps.

        Returns:
            A table with a row for each margin: `margin`, and the means over the samples of `steps`, `accuracy`,
            `spikes`, `accumulates` and `macs`.
        """
        second, first = np.moveaxis(np.partition(self.run.outputs, -2, axis=-1)[..., -2:], -1, 0)
        rows = []
        for margin in margins:
            sure = first - second > margin
            sure[:, -1] = True
            at = sure.argmax(1)
            steps = float(np.take_along_axis(self.run.steps, at[:, None], 1).mean())
            rows.append({"margin": float(margin), "steps": steps, **self._means(at)})
        return Table(rows)

    plot = pictures.accuracy_over_time


def accuracy_over_time(
    model: keras.Model | Run, data: Any = None, labels: Any = None, batch_size: int = 50, verbose: int = 1
) -> AccuracyOverTime:
    """Accuracy after 1, 2, ... T time steps, and the spikes and operations spent until then, in ONE pass.

    The prediction after t steps is the class with the largest `V[t] / t`.

    Args:
        model: a built model with one `SpikingRNN`, or the result of `analysis.run`.
        data, labels, batch_size, verbose: as in `analysis.run`.

    Returns:
        A table with a row for each number of steps: `steps`, `accuracy`, and per sample `spikes` (of all neurons, not
        of the input), `accumulates` and `macs` (None if `analysis.operations` cannot count them).

    Example:
        >>> model = models.spiking_vgg((8, 8, 1), 3, [(4, 3), "pool"], [16], num_steps=10, seed=0)
        >>> images = np.random.default_rng(0).uniform(0, 1, (6, 8, 8, 1)).astype("float32")
        >>> curve = analysis.accuracy_over_time(model, images, np.arange(6) % 3, verbose=0)
        >>> len(curve), curve.early_exit([0.0]).rows[0]["steps"] <= 10
        (10, True)
    """
    return AccuracyOverTime(as_run(model, data, labels, batch_size, verbose, classified=True))
