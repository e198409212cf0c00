"""Several networks side by side: spiking ones, and ANNs."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_spiking_bp.analysis import pictures
from keras_spiking_bp.analysis.ann_operations import operations_of_model
from keras_spiking_bp.analysis.data import batches_of, checked_labels
from keras_spiking_bp.analysis.operations import Costs
from keras_spiking_bp.analysis.over_time import AccuracyOverTime
from keras_spiking_bp.analysis.run import Run, as_run
from keras_spiking_bp.analysis.table import Table
from keras_spiking_bp.rnn.encoded_inputs import as_inputs
from keras_spiking_bp.rnn.spiking_model import is_spiking
from keras_spiking_bp.utils.validation import check_share


class Comparison(Table):
    """A row for each network at full length, and for each spiking network at equal accuracy, `target`.

    `curves` are the `AccuracyOverTime` of each spiking network, by name.
    """

    def __init__(self, rows: list[dict[str, Any]], curves: Mapping[str, Table], target: float | None):
        super().__init__(rows)
        self.curves = curves
        self.target = target

    plot = pictures.comparison


def compare(
    networks: Mapping[str, keras.Model | Run],
    data: Any = None,
    labels: Any = None,
    accuracy: float | None = None,
    costs: Costs = Costs.FLOAT32_45NM,
    batch_size: int = 50,
    verbose: int = 1,
) -> Comparison:
    """Accuracy, steps, spikes, operations and energy of several networks, at full length and at equal accuracy.

    Args:
        networks: by name: models with one `SpikingRNN`; ordinary Keras models of dense layers, convolutions, pooling
            and recurrent layers (ANNs); or results of `analysis.run` with labels.
        data, labels, batch_size, verbose: as in `analysis.run`, the same for all. Runs have their data; `labels`
            replace theirs.
        accuracy: that of the rows at equal accuracy; None for the highest that all spiking networks reach at the end.
        costs: energy per operation.

    Returns:
        A table; in each row `network`, `at` (`"full length"` or `"equal accuracy"`), `accuracy`, `steps` (1 for an
        ANN), and per sample `spikes`, `accumulates`, `macs`, `energy_nj` (neuron updates included where they cost
        anything). At equal accuracy, a spiking network takes the fewest steps from which it stays at least as accurate;
        one that never is has no row.

    Example:
        >>> make = lambda seed: models.spiking_vgg((8, 8, 1), 3, [(4, 3)], [], num_steps=10, seed=seed)
        >>> images = np.random.default_rng(0).uniform(0, 1, (6, 8, 8, 1)).astype("float32")
        >>> table = analysis.compare({"a": make(0), "b": make(1)}, images, np.arange(6) % 3, verbose=0)
        >>> [(row["network"], row["at"]) for row in table.rows[:2]]
        [('a', 'full length'), ('b', 'full length')]
    """
    if accuracy is not None:
        check_share("accuracy", accuracy)
    rows, curves = [], {}
    for name, network in networks.items():
        if not isinstance(network, Run) and not is_spiking(network):
            rows.append(_ann_row(name, network, data, labels, costs, batch_size))
            continue
        of_network = None if isinstance(network, Run) else data
        done = as_run(network, of_network, labels, batch_size, verbose, counted=True, classified=True)
        curves[name] = AccuracyOverTime(done)
        rows.append(_row(name, "full length", curves[name], done.num_steps, costs))
    if accuracy is None and curves:
        accuracy = min(curve.rows[-1]["accuracy"] for curve in curves.values())
    for name, curve in curves.items():
        steps = None if accuracy is None else curve.steps_to_reach(accuracy)
        if steps is not None:
            rows.append(_row(name, "equal accuracy", curve, steps, costs))
    return Comparison(rows, curves, accuracy)


def _row(name: str, at: str, curve: AccuracyOverTime, steps: int, costs: Costs) -> dict[str, Any]:
    row = curve.rows[steps - 1]
    energy = costs.of(row["accumulates"], row["macs"])
    energy += costs.of_updates(curve.run.updates * curve.run.steps[:, steps - 1].mean())
    return {"network": name, "at": at, **row, "energy_nj": energy / 1000}


def _ann_row(name: str, network: keras.Model, data: Any, labels: Any, costs: Costs, batch_size: int) -> dict[str, Any]:
    accumulates, macs = operations_of_model(network)
    right = samples = 0
    batches, _ = batches_of(data, labels, batch_size)
    for inputs, labels_of_batch in batches:
        outputs = np.asarray(network(as_inputs(network, inputs), training=False))
        right += (outputs.argmax(-1) == checked_labels(labels_of_batch, outputs.shape[1:])).sum()
        samples += len(outputs)
    row = {"network": name, "at": "full length", "accuracy": float(right / samples), "steps": 1, "spikes": None}
    energy = costs.of_ann(accumulates, macs) / 1000
    return {**row, "accumulates": accumulates, "macs": macs, "energy_nj": energy}
