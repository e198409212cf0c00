"""Cells and layers connected as a graph."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.cells.base import Cell, State, passed_on_by
from keras_spiking_bp.cells.neuron import NeuronCell
from keras_spiking_bp.cells.synapse import build_part, check_synapse, output_of, sum_of_currents, total_of
from keras_spiking_bp.layer_kinds import computes_otherwise
from keras_spiking_bp.validation import check_layer, check_static_shape

#: The name of the input.
INPUT = "input"
#: Layers that may have several inputs: linear in all of them, without weights.
JOINS = (keras.layers.Add, keras.layers.Concatenate)


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class GraphCell(Cell):
    """Runs cells and stateless Keras layers, connected as a graph, within the same time step.

    Each takes the outputs of one or more before it. The output of a stateless layer such as a convolution is a current:
    it may go to several cells, and is computed once. `keras.layers.Add` and `keras.layers.Concatenate` take several
    outputs. A residual block is thus an `Add` of two currents followed by neurons, and a linear bottleneck a
    convolution followed by none.

    Args:
        nodes: list of pairs `(layer, sources)` in execution order. `sources` is a list of the names of the layers whose
            outputs the layer takes, `"input"` for the input of the step; or one name. The last pair holds a cell, whose
            output is that of the graph.

    Shapes: inputs as the first layers accept them, outputs as the last cell returns them.

    Raises:
        TypeError: if an entry is not a pair of a layer and names.
        ValueError: if two layers have the same name, a source is not an earlier layer, the output of a layer is unused,
            a layer other than `Add` and `Concatenate` takes several outputs, the last layer is not a cell, a
            `ReadoutCell` is not the last, samples are concatenated, or a layer has an `activity_regularizer`.

    Example:
        >>> cell = GraphCell([
        ...     (LIFCell(keras.layers.Dense(8), name="left"), "input"),
        ...     (LIFCell(keras.layers.Dense(8), name="right"), "input"),
        ...     (keras.layers.Concatenate(name="both"), ["left", "right"]),
        ...     (ReadoutCell(keras.layers.Dense(3)), "both"),
        ... ])
        >>> SpikingRNN(cell)(np.ones((2, 5, 4), "float32")).shape
        TensorShape([2, 3])
    """

    def __init__(self, nodes: Sequence[tuple[keras.layers.Layer, Sequence[str] | str]], **kwargs: Any):
        super().__init__(**kwargs)
        if not isinstance(nodes, (list, tuple)):
            raise TypeError(f"`nodes` must be a list of pairs (layer, sources). Received: nodes={nodes!r}")
        self.layers: list[keras.layers.Layer] = []
        self.taken: list[list[str]] = []
        names = {INPUT}
        for i, node in enumerate(nodes):
            layer, taken = _checked(i, node, names)
            names.add(layer.name)
            self.layers.append(layer)
            self.taken.append(taken)
        self.track_for_checkpoints(self.layers)
        if not self.layers or not isinstance(self.layers[-1], Cell):
            last = self.layers[-1] if self.layers else None
            raise ValueError(f"`nodes` must end in a cell, such as ReadoutCell. Received: {last!r}")
        for i, layer in enumerate(self.layers[:-1]):
            if isinstance(layer, Cell) and layer.emits == "potential":
                raise ValueError(f"`nodes` must have a readout at the end only. Received: nodes[{i}]={layer!r}")
        taken_by_some = {name for taken in self.taken for name in taken}
        lost = [layer.name for layer in self.layers[:-1] if layer.name not in taken_by_some]
        if lost:
            raise ValueError(f"`nodes` must lead to the last one. Received: {lost}, whose outputs no other takes")
        self.shapes_of_step: dict[str, tuple[int, ...]] = {}

    def nodes(self) -> list[tuple[keras.layers.Layer, list[str]]]:
        """The layers, each with the names of those whose outputs it takes."""
        return list(zip(self.layers, (list(taken) for taken in self.taken), strict=True))

    @property
    def emits(self) -> str:
        return self.layers[-1].emits

    @property
    def input_shape_of_step(self) -> tuple[int, ...]:
        """Shape of the input of one step, without the batch, once built."""
        return self.shapes_of_step[INPUT]

    def neurons(self) -> list[NeuronCell]:
        return [n for cell in self.layers if isinstance(cell, Cell) for n in cell.neurons()]

    def sources(self, before: Sequence[keras.layers.Layer] = ()) -> list[list[keras.layers.Layer]]:
        return self._followed(before)[0]

    def passed_on(self, before: Sequence[keras.layers.Layer] = ()) -> list[keras.layers.Layer]:
        return self._followed(before)[1]

    def _followed(self, before: Sequence[keras.layers.Layer]) -> tuple[list[list[keras.layers.Layer]], list]:
        """The sources of all neurons, and those of the output."""
        own = {INPUT: list(before)}  # the nearest layers with weights that give a current
        found = []
        for layer, taken in self.nodes():
            given = [part for name in taken for part in own[name]]
            found += layer.sources(given) if isinstance(layer, Cell) else []
            own[layer.name] = passed_on_by(layer, given)
        return found, own[self.layers[-1].name]

    def affine_parts(self) -> list[tuple[keras.layers.Layer, tuple[int, ...]]]:
        parts = []
        for layer, taken in self.nodes():
            if isinstance(layer, Cell):
                parts += layer.affine_parts()
            elif not isinstance(layer, JOINS):
                parts.append((layer, self.shapes_of_step[taken[0]]))
        return parts

    def build(self, input_shape: tuple) -> None:
        shapes = {INPUT: check_static_shape("input_shape", input_shape[1:])}
        for layer, taken in self.nodes():
            if not isinstance(layer, JOINS):
                shapes[layer.name] = build_part(layer, shapes[taken[0]])
                continue
            given = [(None, *shapes[name]) for name in taken]
            if len({len(shape) for shape in given}) > 1:
                raise ValueError(
                    f"The layer {layer.name!r} must join outputs of as many dimensions each. Received: "
                    f"{[shape[1:] for shape in given]} of {taken}"
                )
            if isinstance(layer, keras.layers.Concatenate) and layer.axis % len(given[0]) == 0:
                raise ValueError(f"`nodes` must not join samples. Received: {layer.name!r} with axis={layer.axis}")
            if not layer.built:
                layer.build(given)
            shapes[layer.name] = tuple(layer.compute_output_shape(given))[1:]
        self.shapes_of_step = shapes
        self.output_shape_of_step = shapes[self.layers[-1].name]
        self.built = True

    def step(self, inputs: tf.Tensor, states: list[State]) -> tuple[tf.Tensor, list[State]]:
        """One time step through all layers."""
        states = list(states)
        values, new_states = {INPUT: inputs}, []
        for layer, taken in self.nodes():
            if isinstance(layer, Cell):
                own = [states.pop(0) for _ in layer.neurons()]
                values[layer.name], own = layer.step(values[taken[0]], own)
                new_states += own
            elif isinstance(layer, JOINS):
                values[layer.name] = _joined(layer, [values[name] for name in taken])
            else:
                values[layer.name] = output_of(layer, values[taken[0]])
        return values[self.layers[-1].name], new_states

    def accumulate(
        self, total_inputs: tf.Tensor, states: list[State], num_steps: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """The chain rule on totals, layer by layer."""
        states = list(states)
        totals = {INPUT: total_inputs}
        for layer, taken in self.nodes():
            if isinstance(layer, Cell):
                own = [states.pop(0) for _ in layer.neurons()]
                totals[layer.name] = layer.accumulate(totals[taken[0]], own, num_steps, training)
            elif isinstance(layer, JOINS):
                totals[layer.name] = _joined(layer, [totals[name] for name in taken])
            else:
                totals[layer.name] = total_of(layer, totals[taken[0]], num_steps, training)
        return totals[self.layers[-1].name]

    def get_config(self) -> dict[str, Any]:
        nodes = [[keras.saving.serialize_keras_object(layer), taken] for layer, taken in self.nodes()]
        return {**super().get_config(), "nodes": nodes}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> GraphCell:
        config = dict(config)
        nodes = [
            (keras.saving.deserialize_keras_object(layer, custom_objects=custom_objects), taken)
            for layer, taken in config.pop("nodes")
        ]
        return cls(nodes, **config)


def _checked(i: int, node: Any, names: set[str]) -> tuple[keras.layers.Layer, list[str]]:
    """A pair of `nodes`; `names` are those of earlier layers."""
    if not isinstance(node, (list, tuple)) or len(node) != 2:
        raise TypeError(f"`nodes[{i}]` must be a pair (layer, sources). Received: {node!r}")
    layer, taken = node
    layer = check_layer(f"nodes[{i}]", layer) if isinstance(layer, Cell) else check_synapse(f"nodes[{i}]", layer)
    taken = [taken] if isinstance(taken, str) or not isinstance(taken, Iterable) else list(taken)
    if not all(isinstance(name, str) for name in taken):
        raise TypeError(f"`nodes[{i}]` must take names of layers, or 'input'. Received: {layer.name!r} with {taken!r}")
    if layer.name in names:
        raise ValueError(f"`nodes` must have names of their own, other than 'input'. Received: {layer.name!r} twice")
    unknown = [name for name in taken if name not in names]
    if unknown or not taken:
        raise ValueError(
            f"`nodes[{i}]` ({layer.name!r}) must take outputs of layers before it, {sorted(names)}. Received: {taken}"
        )
    otherwise = computes_otherwise(layer, JOINS)
    if otherwise:
        raise ValueError(f"`nodes[{i}]` must be a layer of Keras where it joins. Received: {layer.name!r}: {otherwise}")
    if isinstance(layer, JOINS) is (len(taken) == 1):
        others = "; others take outputs of SpikingRNN(..., return_sequences=True)" if len(taken) > 1 else ""
        kinds = " and ".join(kind.__name__ for kind in JOINS)
        raise ValueError(
            f"`nodes[{i}]` must take one output, or be one of {kinds} and take several. "
            f"Received: {layer.name!r} ({type(layer).__name__}) with {taken}{others}"
        )
    return layer, taken


def _joined(layer: keras.layers.Layer, values: list[tf.Tensor]) -> tf.Tensor:
    """A sum or a concatenation, in float32."""
    values = [tf.cast(value, tf.float32) for value in values]
    if isinstance(layer, keras.layers.Add):
        return functools.reduce(sum_of_currents, values)
    return tf.concat(values, layer.axis)
