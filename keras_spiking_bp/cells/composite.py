"""Cells and layers connected within one time step: how they are built, run and summed over time."""

from __future__ import annotations

import dataclasses
import functools
import operator
from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.cells.base import Cell, CellOfParts, Operands
from keras_spiking_bp.cells.block import ONE_STEP, Block, State
from keras_spiking_bp.cells.neuron import NeuronCell
from keras_spiking_bp.cells.synapse import build_part, by_the_batch, output_of, sum_of_currents, total_of
from keras_spiking_bp.utils.validation import check_static_shape

#: In place of the index of a node: the input of the cell.
CELL_INPUT = -1
#: Layers that may have several inputs: linear in all of them, without weights.
JOINS = (keras.layers.Add, keras.layers.Concatenate)


@dataclasses.dataclass(frozen=True)
class Node:
    """A layer of a graph and its edges.

    Attributes:
        layer: a cell, or a Keras layer without neurons. In the list of `flat`, a `NeuronCell` stands for its neurons
            alone, which take a current.
        inputs: indices of the nodes whose outputs it takes, or `CELL_INPUT`. Of a cell, those after the first are
            currents that add to that of its synapse.
        name: the name of the layer in its network.
        delayed_to: of recurrent synapses, the index of the neurons that get the current in the next step.
        shape: of the output, without the batch (in the list of `flat`).
        cell: of a synapse, the cell that it belongs to (in the list of `flat`).
    """

    layer: keras.layers.Layer
    inputs: tuple[int, ...]
    name: str
    delayed_to: int | None = None
    shape: tuple[int, ...] = ()
    cell: NeuronCell | None = None


class CompositeCell(CellOfParts):
    """A cell of other cells and stateless layers. A subclass lists them in `nodes`; the last one gives the output."""

    def nodes(self) -> list[Node]:
        """The layers in execution order; recurrent synapses after their neurons."""
        raise NotImplementedError

    @property
    def emits(self) -> str:
        nodes = self.nodes()
        last = nodes[last_node(nodes)].layer
        return last.emits if isinstance(last, Cell) else "spikes"

    def neurons(self) -> list[NeuronCell]:
        cells = [node.layer for node in self.nodes() if isinstance(node.layer, Cell)]
        return [neurons for cell in cells for neurons in cell.neurons()]

    def affine_parts(self) -> list[keras.layers.Layer]:
        parts: list[keras.layers.Layer] = []
        for layer in self.parts():
            parts += layer.affine_parts() if isinstance(layer, Cell) else [layer]
        return parts

    def build(self, input_shape: tuple) -> None:
        self.input_shape_of_step = check_static_shape("input_shape", input_shape[1:])
        self.node_shapes: list[tuple[int, ...]] = []
        nodes = self.nodes()
        for i, node in enumerate(nodes):
            shapes = _inputs(node, self.input_shape_of_step, self.node_shapes)
            if isinstance(node.layer, JOINS):
                self.node_shapes.append(_build_join(node, shapes))
                continue
            shape = build_part(node.layer, shapes[0])
            self.node_shapes.append(shape)
            currents = zip(node.inputs[1:], shapes[1:], strict=True) if node.delayed_to is None else [(i, shape)]
            target = i if node.delayed_to is None else node.delayed_to
            for source, other in currents:
                if other != self.node_shapes[target]:
                    name = "its input" if source == CELL_INPUT else repr(nodes[source].name)
                    raise ValueError(
                        f"In {self.name!r} the current from {name} must have the shape of that of the synapse of "
                        f"{nodes[target].name!r}, {self.node_shapes[target]}. Received: {other}"
                    )
        self.output_shape_of_step = self.node_shapes[last_node(nodes)]
        self.built = True

    def run(self, inputs: tf.Tensor, states: list[State], block: Block = ONE_STEP) -> tuple[tf.Tensor, list[State]]:
        """The steps of a block, layer by layer; a recurrent synapse within the loop of its neurons."""
        nodes, left, new_states = self.nodes(), iter(states), []
        values, repeated = [], []  # type: list[Any], list[bool]
        output = inputs
        for node in nodes:
            if node.delayed_to is not None:
                values.append(None)
                repeated.append(False)
                continue
            operands, same = _operands(node, inputs, values, block, repeated)
            if isinstance(node.layer, Cell):
                before = [next(left) for _ in node.layer.neurons()]
                back = [other.layer for other in nodes if other.delayed_to == len(values)]
                others = (operands[1:], back) if operands[1:] or back else ()
                output, after = node.layer.run(operands[0], before, block.for_value(same), *others)
                new_states += after
            elif isinstance(node.layer, JOINS):
                output = _joined(nodes, len(values), operands)
            else:
                output = output_of(node.layer, operands[0], block.for_value(same))
            values.append(output)
            repeated.append(same and not isinstance(node.layer, Cell))
        return output, new_states

    def accumulate(
        self, total_inputs: tf.Tensor, states: list[State], num_steps: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """The chain rule on sums over time, layer by layer; of networks without recurrent synapses."""
        nodes, left, totals = self.nodes(), iter(states), []  # type: ignore[var-annotated]
        for node in nodes:
            first, *others = _inputs(node, total_inputs, totals)
            if isinstance(node.layer, Cell):
                own = [next(left) for _ in node.layer.neurons()]
                total = node.layer.accumulate(first, own, num_steps, training, *([others] if others else []))
            elif isinstance(node.layer, JOINS):
                total = _joined(nodes, len(totals), [first, *others])
            else:
                total = total_of(node.layer, first, num_steps, training)
            totals.append(total)
        return totals[-1]

    def run_with_totals(
        self, inputs: Operands, totals: list[tf.Tensor], states: list[State], blocks: list[Block], num_steps: tf.Tensor
    ) -> tuple[list[tf.Tensor], list[State], tf.Tensor]:
        """As in `Cell`, layer by layer: the statistics of a layer are known before its steps."""
        nodes, left, new_states = self.nodes(), iter(states), []
        values, repeated, sums = [], [], []  # type: list[Any], list[bool], list[tf.Tensor]
        for node in nodes:
            of_blocks = [
                _operands(node, first, [value[i] for value in values], block, repeated)
                for i, ((first,), block) in enumerate(zip(inputs, blocks, strict=True))
            ]
            operands, same = [tensors for tensors, _ in of_blocks], of_blocks[0][1]
            here, total_operands = [block.for_value(same) for block in blocks], _inputs(node, totals[0], sums)
            if isinstance(node.layer, Cell):
                before = [next(left) for _ in node.layer.neurons()]
                outputs, after, total = node.layer.run_with_totals(operands, total_operands, before, here, num_steps)
                new_states += after
            elif isinstance(node.layer, JOINS):
                total = _joined(nodes, len(values), total_operands)
                outputs = [_joined(nodes, len(values), tensors) for tensors in operands]
            else:
                firsts = [value for (value,) in operands]
                outputs, total = by_the_batch(node.layer, firsts, total_operands[0], here, num_steps)
            values.append(outputs)
            sums.append(total)
            repeated.append(same and not isinstance(node.layer, Cell))
        return outputs, new_states, total


def _operands(
    node: Node, inputs: tf.Tensor, values: list, block: Block, repeated: list[bool]
) -> tuple[list[tf.Tensor], bool]:
    """What a node takes in a block, and whether that is the same at all steps: several inputs are repeated."""
    operands, same = _inputs(node, inputs, values), _inputs(node, block.repeated, repeated)
    if len(operands) == 1:
        return operands, same[0]
    return [block.repeat(value) if once else value for value, once in zip(operands, same, strict=True)], False


def last_node(nodes: list[Node]) -> int:
    """The index of the node that gives the output."""
    return max(i for i, node in enumerate(nodes) if node.delayed_to is None)


def _inputs(node: Node, of_cell: Any, values: list) -> list:
    """What a node takes: of `values`, one for each node so far, and of the input of the cell."""
    return [of_cell if i == CELL_INPUT else values[i] for i in node.inputs]


def _build_join(node: Node, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Builds a layer with several inputs; returns the shape of its output, without the batch."""
    with_batch = [(None, *shape) for shape in shapes]
    if len({len(shape) for shape in shapes}) > 1:
        raise ValueError(f"The layer {node.name!r} must join outputs of as many dimensions each. Received: {shapes}")
    if not node.layer.built:
        node.layer.build(with_batch)
    return tuple(node.layer.compute_output_shape(with_batch))[1:]


def _joined(nodes: list[Node], i: int, values: list[tf.Tensor]) -> tf.Tensor:
    """A sum or a concatenation, the node `i`, in float32."""
    values = [tf.cast(value, tf.float32) for value in values]
    if isinstance(nodes[i].layer, keras.layers.Add):
        return functools.reduce(operator.add if _is_of_neurons(nodes, i) else sum_of_currents, values)
    return tf.concat(values, nodes[i].layer.axis)


def _is_of_neurons(nodes: list[Node], i: int) -> bool:
    """Whether a node is a layer of neurons, or joins such layers alone."""
    if i == CELL_INPUT:
        return False
    layer, inputs = nodes[i].layer, nodes[i].inputs
    return isinstance(layer, NeuronCell) or (isinstance(layer, JOINS) and all(_is_of_neurons(nodes, j) for j in inputs))
