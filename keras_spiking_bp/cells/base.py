"""What every cell can do: one time step, and the whole window at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.cells.batch_norm import learning_normalizations
from keras_spiking_bp.cells.block import ONE_STEP, Block, State
from keras_spiking_bp.gradients.tracing import not_recorded
from keras_spiking_bp.utils.validation import check_float32_policy

#: For each block of a window the input of a cell, and the currents that add to that of its synapse.
Operands = list[list[tf.Tensor]]


class Cell(keras.layers.Layer):
    """Base class of all cells: a network without its loop over time, which is that of `SpikingRNN`.

    Subclasses define

    * `neurons()`: the leaves of the cell tree that hold a membrane potential, in execution order. The state of a cell
      is a list with one dictionary for each of them.
    * `run(inputs, states, block)`: one or more time steps, `(outputs, new_states)`, folded into the batch
      (`cells.block`).
    * `accumulate(total_inputs, states, num_steps, training)`: the window at once. Takes the inputs summed over it and
      the states after it; returns the outputs summed over it, with the derivative whose record the states hold. Writes
      `count` into the state of each layer of LIF or IF neurons: its spike count, with the same derivative. With
      `training`, batch normalisation in a synapse is in training mode: batch statistics, one update.
    * `affine_parts()`: the layers that `accumulate` applies to sums over time.
    * `emits`: `"spikes"`, or `"potential"` for a network that ends in a readout.
    * `takes_activity_regularizer`: whether `penalty` is that of Keras' `activity_regularizer`, as in `LIFCell`.

    Every cell also works in plain `keras.layers.RNN` (`call`, `state_size`, `get_initial_state`), in a functional model
    if its outputs are vectors (with `return_state=True` build the cell first). Plain autodiff through the loop then
    follows the surrogate, or without one the authors' rule without the leak correction, which is known only at the end.
    With `stateful=True` one dropout mask serves all batches; `reset_state` sets all potentials to 0 and ends dropout.
    Batch normalisation must not learn there: nothing would update its statistics.

    Freeze a cell by `cell.trainable = False`: as an argument of its constructor it would not reach the layers inside.

    Cells compute in float32 whatever the global dtype policy: a bfloat16 membrane potential never reaches its steady
    state. Mixed precision belongs to the synapse: `keras.layers.Conv2D(..., dtype="mixed_bfloat16")`.
    """

    takes_activity_regularizer = False

    def __init__(self, **kwargs: Any):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        check_float32_policy("a cell", self.dtype_policy)
        if self.activity_regularizer is not None and not self.takes_activity_regularizer:
            raise ValueError(
                f"`activity_regularizer` is for cells that fire, LIFCell and IFCell, not for {type(self).__name__}. "
                f"Received: activity_regularizer={self.activity_regularizer!r}"
            )
        self.supports_masking = True
        self.output_shape_of_step: Any = None  # sizes without the batch, once built
        self._called_by_keras = False

    def track_for_checkpoints(self, layers: Sequence[keras.layers.Layer]) -> None:
        """Shows layers in a list to `tf.train.Checkpoint`, which does not look into lists of Keras."""
        for i, layer in enumerate(layers):
            self._track_trackable(layer, name=f"part_{i}")

    @property
    def emits(self) -> str:
        return "spikes"

    def neurons(self) -> list[Any]:
        raise NotImplementedError

    def affine_parts(self) -> list[keras.layers.Layer]:
        raise NotImplementedError

    def run(self, inputs: tf.Tensor, states: list[State], block: Block = ONE_STEP) -> tuple[tf.Tensor, list[State]]:
        raise NotImplementedError

    def accumulate(
        self, total_inputs: tf.Tensor, states: list[State], num_steps: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        raise NotImplementedError

    def run_with_totals(
        self, inputs: Operands, totals: list[tf.Tensor], states: list[State], blocks: list[Block], num_steps: tf.Tensor
    ) -> tuple[list[tf.Tensor], list[State], tf.Tensor]:
        """All blocks by `run`, without a derivative, and the window at once by `accumulate`, in training."""
        outputs, after = self.run_blocks(inputs, states, blocks)
        currents = [totals[1:]] if totals[1:] else []
        return outputs, after, self.accumulate(totals[0], after, num_steps, True, *currents)

    def run_blocks(
        self, inputs: Operands, states: list[State], blocks: list[Block]
    ) -> tuple[list[tf.Tensor], list[State]]:
        """All blocks of a window, one after the other, without a derivative."""
        outputs = []
        with not_recorded():
            for block, (first, *currents) in zip(blocks, inputs, strict=True):
                output, states = self.run(first, states, block, *([currents] if currents else []))
                outputs.append(output)
        return tf.nest.map_structure(tf.stop_gradient, (outputs, states))

    # --- a cell of plain keras.layers.RNN ----------------------------------------------------------------------------

    @property
    def state_size(self) -> list[Any]:
        """Shapes of the flat list of states, without the batch (-1 before the cell is built)."""
        return [_rnn_size(shape) for neuron in self.neurons() for shape in neuron.plain_state_shapes]

    @property
    def output_size(self) -> Any:
        """Shape of the output of one step, without the batch."""
        return _rnn_size(self.output_shape_of_step)

    def get_initial_state(self, batch_size: Any = None) -> list[tf.Tensor]:
        """Initial states of the neurons and, for each with dropout, the mask used at all time steps."""
        return [tensor for neuron in self.neurons() for tensor in neuron.plain_initial_state(batch_size)]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) < 2 and "states" not in kwargs:
            raise ValueError(  # no TypeError, which keras.Sequential replaces by one of its own
                f"The cell {self.name!r} computes one time step from inputs and states. To run it over all time steps: "
                "SpikingRNN(cell)(inputs). Received: no states"
            )
        self._called_by_keras = True
        try:
            return super().__call__(*args, **kwargs)
        finally:
            self._called_by_keras = False

    def add_loss(self, loss: Any) -> None:
        """As in Keras, but ignores the loss that Keras itself adds for an `activity_regularizer`.

        It would be a penalty on the outputs and potentials of one step, inaccessible inside the loop.
        """
        if not self._called_by_keras:
            super().add_loss(loss)

    def call(
        self, inputs: tf.Tensor, states: list[tf.Tensor], training: bool | None = None
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """One time step for `keras.layers.RNN`: `(outputs, new_states)`, the states as a flat list."""
        if training:
            check_no_activity_regularizer(self, "keras.layers.RNN")
            if learning_normalizations(self):
                raise ValueError(
                    f"The batch normalisation {learning_normalizations(self)[0].name!r} cannot learn in "
                    "keras.layers.RNN, which would not update its statistics: use SpikingRNN, or set its "
                    "trainable=False"
                )
        flat = iter(states)
        before, masks = [], []  # type: list[State], list[list[tf.Tensor]]
        for neuron in self.neurons():
            state = {name: next(flat) for name in neuron.carried_shapes}
            masks.append([next(flat)] if neuron.dropout else [])
            if training and neuron.dropout:
                state["keep"] = 1.0 + masks[-1][0]
            before.append({**state, "slot": None})
        outputs, after = self.run(inputs, before)
        new_states: list[tf.Tensor] = []
        for neuron, state, mask in zip(self.neurons(), after, masks, strict=True):
            new_states += [*(state[name] for name in neuron.carried_shapes), *mask]
        return tf.cast(outputs, self.compute_dtype), new_states

    def compute_output_shape(self, input_shape: tuple, *_: Any) -> tuple:
        return (input_shape[0], *self.output_shape_of_step)

    def compute_output_spec(self, inputs: keras.KerasTensor, states: Any, training: bool | None = None) -> Any:
        outputs = keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)
        return outputs, [keras.KerasTensor(state.shape, dtype=state.dtype) for state in states]


class CellOfParts(Cell):
    """A cell whose arguments `part_names` are layers, or lists of layers; its attributes have the same names."""

    part_names: tuple[str, ...] = ()

    def parts(self) -> list[keras.layers.Layer]:
        """The layers in it."""
        values = [getattr(self, name) for name in self.part_names]
        parts = [part for value in values for part in (value if isinstance(value, (list, tuple)) else [value])]
        return [part for part in parts if part is not None]

    def get_config(self) -> dict[str, Any]:
        parts = {name: keras.saving.serialize_keras_object(getattr(self, name)) for name in self.part_names}
        return {**super().get_config(), **parts}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> CellOfParts:
        config = dict(config)
        parts = {
            name: keras.saving.deserialize_keras_object(config.pop(name), custom_objects=custom_objects)
            for name in cls.part_names
        }
        if len(parts) == 1:  # a subclass may have another name for it
            return cls(*parts.values(), **config)
        return cls(**parts, **config)


def check_no_activity_regularizer(cell: Cell, where: str) -> None:
    """Rejects penalties on firing rates where spike counts have no derivative."""
    for neuron in cell.neurons():
        if neuron.activity_regularizer is not None:
            raise ValueError(
                f"`activity_regularizer` of {neuron.name!r} needs the derivative of spike counts, which {where} does "
                "not give: use SpikingRNN with gradient='accumulated'. With 'bptt', and in a recurrent "
                "network, penalise the spikes of a SpikingRNN with return_sequences=True: call "
                "keras.layers.ActivityRegularization on them"
            )


def _rnn_size(shape: tuple[int, ...] | None) -> Any:
    if shape is None:
        return -1
    return shape[0] if len(shape) == 1 else shape
