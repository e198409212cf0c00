"""What the page must know of a network beside its code: layers, synapses that a spike reaches, costs."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

import keras_spiking_bp as ksbp
from keras_spiking_bp.analysis.ann_operations import ann_operations
from keras_spiking_bp.analysis.synapse_counts import fan_out
from keras_spiking_bp.rnn.connections import INPUT, connections
from keras_spiking_bp.rnn.spiking_model import output_layer
from keras_spiking_bp.utils.layer_kinds import parts_of


def description(model: keras.Model) -> dict[str, Any]:
    """The network as data for JSON; `layers` in the order of the operations of `export_c`.

    `connections` hold for each element of their source the number of synapses that its spike reaches (`fan_out`: one
    number if that is the same for all), of which each costs an accumulate; `ann` the operations of one inference of the
    same network as an ANN; `costs` picojoules (`Costs.FLOAT32_45NM`).

    Args:
        model: images -> PoissonEncoder -> SpikingRNN that ends in a readout; or a series instead of the first two.

    Raises:
        ValueError: if a connection comes from something that does not fire.
    """
    layer = output_layer(model)
    encoder = next((part for part in model.layers if isinstance(part, ksbp.PoissonEncoder)), None)
    cell = layer.cell
    neurons = cell.neurons()
    paths = connections(cell, layer.input.shape[2:])
    fired = [neuron for neuron in neurons if neuron.emits == "spikes"]
    silent = [path.name for path in paths if path.source not in (INPUT, *(neuron.name for neuron in fired))]
    if silent:
        raise ValueError(f"`model` must have spikes on all of its connections. Received: {silent}")
    costs = ksbp.analysis.Costs.FLOAT32_45NM
    accumulates, macs = np.sum(ann_operations(paths), axis=0)
    return {
        "num_steps": encoder and encoder.num_steps,
        "input": {"name": INPUT, "shape": list(layer.input.shape[2:])},
        "layers": [
            {"name": neuron.name, "what": _what(neuron.synapse), "shape": list(neuron.output_shape_of_step)}
            for neuron in fired
        ],
        "readout": {"name": neurons[-1].name, "classes": neurons[-1].output_shape_of_step[-1]},
        "connections": [
            {"source": path.source, "target": path.target, "fan_out": _short(fan_out(path.layers, path.source_shape))}
            for path in paths
        ],
        "ann": {"macs": int(macs), "accumulates": int(accumulates)},
        "costs": {"accumulate": costs.of(1, 0), "mac": costs.of(0, 1)},
    }


def _short(counts: np.ndarray) -> int | list[int]:
    flat = np.round(counts).astype(int).ravel().tolist()
    return flat[0] if len(set(flat)) == 1 else flat


def _what(synapse: keras.layers.Layer) -> str:
    """A synapse in a few words."""
    layer = parts_of(synapse)[0]
    if isinstance(layer, keras.layers.Conv2D):
        return f"convolution {' x '.join(map(str, layer.kernel_size))}"
    if isinstance(layer, keras.layers.AveragePooling2D):
        return f"pooling {' x '.join(map(str, layer.pool_size))}"
    return "dense" if isinstance(layer, keras.layers.Dense) else type(layer).__name__
