"""The cell tree of a model as a readable table."""

from __future__ import annotations

import math
from collections.abc import Callable

import keras

from keras_spiking_bp.cells import Cell
from keras_spiking_bp.cells.composite import CELL_INPUT
from keras_spiking_bp.cells.neuron import NeuronCell
from keras_spiking_bp.cells.walk import flat
from keras_spiking_bp.rnn.layer import SpikingRNN
from keras_spiking_bp.rnn.spiking_model import spiking_layers

_HEADER = ("name", "neuron", "synapse", "output", "weights", "neurons")


def summary(model: keras.Model | SpikingRNN, print_fn: Callable[[str], None] = print) -> None:
    """Prints the cells of a spiking network: name, neuron, synapse, output shape, weights, neurons.

    Args:
        model: a built `keras.Model` with one or more `SpikingRNN` layers, or such a layer. Weights that several cells
            share are in the row of each, and once in the total.
        print_fn: called with each line.

    Raises:
        TypeError: if there is no `SpikingRNN`.
        ValueError: if it is not built.

    Example:
        >>> summary(models.spiking_vgg((8, 8, 1), 3, stages=[(4, 3), "pool"], dense_units=[], preset="paper"))
        name      neuron                  synapse                output  weights  neurons
        ---------------------------------------------------------------------------------
        conv1     LIF 0.99, threshold 1   Conv2D 3x3, 4           8x8x4       36      256
        pool1     IF, threshold 0.75      AveragePooling2D 2x2    4x4x4        0       64
        flatten                           Flatten                    64        0        0
        readout   readout 0.99            Dense 3                     3      192        3
        total                                                                228      323
    """
    for layer in spiking_layers(model):
        rows = _rows(layer.cell)
        total = ("total", "", "", "", layer.cell.count_params(), sum(row[5] for row in rows))
        table = [_HEADER] + [tuple(f"{x:,}" if isinstance(x, int) else x for x in row) for row in [*rows, total]]
        widths = [max(len(row[i]) for row in table) for i in range(len(_HEADER))]
        lines = []
        for row in table:
            left = [f"{x:{width + 1}}" for x, width in zip(row[:3], widths, strict=False)]
            right = [f"{x:>{width}}" for x, width in zip(row[3:], widths[3:], strict=True)]
            lines.append("  ".join(left + right))
        lines.insert(1, "-" * len(lines[0]))
        for line in lines:
            print_fn(line)


def _rows(cell: Cell) -> list[tuple]:
    """One row for each layer of neurons with its synapse, and for each layer beside them."""
    rows, nodes = [], flat(cell)
    for node in nodes:
        if isinstance(node.layer, NeuronCell):
            neuron, weights, neurons = node.layer.description, node.layer.count_params(), math.prod(node.shape)
            others = ["input" if i == CELL_INPUT else nodes[i].name for i in node.inputs[1:]]
            synapse = " + ".join([_synapse(node.layer.synapse), *others])
            rows.append((node.name, neuron, synapse, _shape(node.shape), weights, neurons))
        elif node.cell is None:
            several = len(node.inputs) > 1
            synapse = f"{type(node.layer).__name__} of {len(node.inputs)}" if several else _synapse(node.layer)
            rows.append((node.name, "", synapse, _shape(node.shape), node.layer.count_params(), 0))
    return rows


def _synapse(layer: keras.layers.Layer) -> str:
    if isinstance(layer, keras.Sequential):
        return " + ".join(_synapse(part) for part in layer.layers if not isinstance(part, keras.layers.ZeroPadding2D))
    text = type(layer).__name__
    for name in ("kernel_size", "pool_size"):
        if isinstance(sizes := getattr(layer, name, None), (tuple, list)):
            text += " " + "x".join(map(str, sizes))
    strides = getattr(layer, "strides", None)
    if isinstance(strides, tuple) and strides != getattr(layer, "pool_size", (1,) * len(strides)):
        text += "/" + "x".join(str(stride) for stride in (strides if len(set(strides)) > 1 else strides[:1]))
    size = getattr(layer, "filters", None) or getattr(layer, "units", None)
    return f"{text}{',' if ' ' in text else ''} {size}" if size else text


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape)
