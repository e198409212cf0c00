"""What an inference computes: synaptic operations of the spiking network, and of the same ANN."""

from __future__ import annotations

from typing import Any

import keras

from keras_spiking_bp.analysis import pictures
from keras_spiking_bp.analysis.ann_operations import OperationCount, ann_operations
from keras_spiking_bp.analysis.run import Run, as_run
from keras_spiking_bp.analysis.table import Table


class Operations(Table):
    """Operations of each connection, per sample; the last row is the whole network.

    Attributes:
        neuron_updates: potentials (including the readout's, and synaptic currents) times time steps: integrate, leak,
            compare. Not counted in the rows.
    """

    def __init__(self, rows: list[dict[str, Any]], neuron_updates: float):
        super().__init__(rows)
        self.neuron_updates = neuron_updates

    def plot(self, axis: Any = None) -> Any:
        """Draws the operations of each connection beside those of the ANN; returns the matplotlib axes."""
        return pictures.operations(self, axis)


def operations(model: keras.Model | Run, data: Any = None, batch_size: int = 50, verbose: int = 1) -> Operations:
    """Synaptic operations per sample, counted exactly, beside those of the same network as an ANN.

    The ANN beside a network with an `Encoder` sees the sample once, without feedback. Beside one without, whose input
    is a series, it computes each layer, feedback too, at each time step that no mask skips, as a recurrent layer of
    Keras does.

    A spike costs one accumulate (AC: an addition of a weight) for each synapse that it reaches; at borders and with
    strides it reaches fewer (`analysis.synapse_counts.fan_out`). An input that is not spikes (a constant current) costs
    a multiply-accumulate (MAC) for each nonzero value, synapse and time step. The ANN needs one MAC for each synapse.
    Pooling windows and identity shortcuts have no weights: they accumulate, in the ANN too. Where no neurons follow
    average pooling, each spike goes through its window to the synapses of the next layer; the ANN computes the averages
    first. Biases, and batch normalisation, which can be folded into weights and biases, are not counted (one addition
    for each neuron and time step, in the ANN for each neuron).

    Args:
        model: a built model with one `SpikingRNN`, or an `analysis.Run`.
        data: inputs of the model, as in `analysis.run`.
        batch_size, verbose: as in `analysis.run`.

    Returns:
        A table with a row for each connection and `"total"`: `connection`, `synapses`, `accumulates` and `macs` of the
        spiking network, `ann_accumulates` and `ann_macs`; all per sample. What follows an `Add` is in the row of each
        summand: its synapses count once for each.

    Raises:
        TypeError, ValueError: as `analysis.run`; ValueError too if synapses cannot be counted, or layers with synapses
            are outside of the `SpikingRNN`.

    Example:
        >>> model = models.spiking_vgg((8, 8, 1), 3, [(4, 3), "pool"], [16], num_steps=10, seed=0)
        >>> images = np.random.default_rng(0).uniform(0, 1, (6, 8, 8, 1)).astype("float32")
        >>> table = analysis.operations(model, images, verbose=0)
        >>> [(row["connection"], row["synapses"]) for row in table.rows][:2]
        [('input -> conv1', 1936), ('conv1 -> fc1', 4096)]
    """
    done = as_run(model, data, None, batch_size, verbose, labelled=False, counted=True)
    rows: list[dict[str, Any]] = []
    times = 1 if done.encoded else done.mean_steps  # that the ANN computes
    in_ann = [path for path in done.connections if not (done.encoded and path.delayed)]
    ann_counts = dict(zip([path.name for path in in_ann], ann_operations(in_ann), strict=True))
    for path, synapses in zip(done.connections, done.synapses, strict=True):
        ann = ann_counts.get(path.name, OperationCount())
        counted = float(done.operations[path.name].sum(1).mean())
        multiplies = done.multiplies(path)
        rows.append(
            {
                "connection": path.name,
                "synapses": synapses,
                "accumulates": 0.0 if multiplies else counted,
                "macs": counted if multiplies else 0.0,
                "ann_accumulates": ann.accumulates * times,
                "ann_macs": ann.macs * times,
            }
        )
    total = {name: sum(row[name] for row in rows) for name in list(rows[0])[1:]}
    return Operations([*rows, {"connection": "total", **total}], done.updates * done.mean_steps)
