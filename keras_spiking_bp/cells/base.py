"""What every cell can do: one time step, and the whole window at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.cells.moving_statistics import learning_normalizations
from keras_spiking_bp.cells.synapse import build_synapse, check_synapse
from keras_spiking_bp.validation import check_float32_policy, check_has_shape

#: The state of one layer of neurons: what it carries, and any requested record (`NeuronCell.initial_state`).
State = dict[str, tf.Tensor]


def nearest(own: list[keras.layers.Layer], before: Sequence[keras.layers.Layer]) -> list[keras.layers.Layer]:
    """The sources `own` of a current, with those before them if they have no weights."""
    return own if any(layer.weights for layer in own) else [*own, *before]


class Cell(keras.layers.Layer):
    """Base class of all cells. A cell maps the inputs of ONE time step to its outputs; `SpikingRNN` loops over time.

    Subclasses define

    * `neurons()`: the leaves of the cell tree that hold a membrane potential, in execution order. The state of a cell
      is a list with one dictionary for each of them.
    * `step(inputs, states)`: one time step, `(outputs, new_states)`.
    * `accumulate(total_inputs, states, num_steps, training)`: the window at once. Takes the inputs summed over it and
      the states after it; returns the outputs summed over it, with the derivative whose record the states hold. Writes
      `count` into the state of each layer of LIF or IF neurons: its spike count, with the same derivative. With
      `training`, batch normalisation in a synapse is in training mode: batch statistics, one update.
    * `sources(before)`: for each of the neurons, the layers whose outputs sum to its current. `before` are those that
      give the input of the cell, if it is a current: the sources of the neurons that it reaches without weights, other
      than by a shortcut.
    * `affine_parts()`: the layers that `accumulate` applies to sums over time, each with its input shape.
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

    def neurons(self) -> list[NeuronCell]:
        raise NotImplementedError

    def sources(self, before: Sequence[keras.layers.Layer] = ()) -> list[list[keras.layers.Layer]]:
        raise NotImplementedError

    def passed_on(self, before: Sequence[keras.layers.Layer] = ()) -> list[keras.layers.Layer]:
        """The nearest layers with weights whose current the outputs are: none where neurons fire."""
        return []

    def affine_parts(self) -> list[tuple[keras.layers.Layer, tuple[int, ...]]]:
        raise NotImplementedError

    def step(self, inputs: tf.Tensor, states: list[State]) -> tuple[tf.Tensor, list[State]]:
        raise NotImplementedError

    def accumulate(
        self, total_inputs: tf.Tensor, states: list[State], num_steps: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        raise NotImplementedError

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
        check_has_shape(self, self.output_shape_of_step, "build((None, ...))")
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
        outputs, after = self.step(inputs, before)
        new_states: list[tf.Tensor] = []
        for neuron, state, mask in zip(self.neurons(), after, masks, strict=True):
            new_states += [*(state[name] for name in neuron.carried_shapes), *mask]
        return tf.cast(outputs, self.compute_dtype), new_states

    def compute_output_shape(self, input_shape: tuple, *_: Any) -> tuple:
        check_has_shape(self, self.output_shape_of_step, "build((None, ...))")
        return (input_shape[0], *self.output_shape_of_step)

    def compute_output_spec(self, inputs: keras.KerasTensor, states: Any, training: bool | None = None) -> Any:
        outputs = keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)
        return outputs, [keras.KerasTensor(state.shape, dtype=state.dtype) for state in states]


class CellOfParts(Cell):
    """A cell whose arguments `part_names` are layers, or lists of layers; its attributes have the same names."""

    part_names: tuple[str, ...] = ()

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


class NeuronCell(CellOfParts):
    """A cell with a synapse and one layer of neurons: a leaf of the cell tree."""

    dropout = 0.0
    starting_potential: Any = 0.0

    part_names = ("synapse",)

    def __init__(self, synapse: keras.layers.Layer, **kwargs: Any):
        super().__init__(**kwargs)
        self.synapse = check_synapse("synapse", synapse)

    @property
    def carries_state(self) -> bool:
        """Whether it carries state from step to step."""
        return True

    @property
    def has_threshold(self) -> bool:
        """Whether it fires at a threshold; else it passes on its input, as a potential or as its maximum."""
        return self.emits == "spikes"

    @property
    def learned(self) -> list[str]:
        """The names of the parameters that are weights."""
        return []

    def build(self, input_shape: tuple) -> None:
        self.input_shape_of_step, self.output_shape_of_step = build_synapse(self.synapse, input_shape)

    @property
    def carried_shapes(self) -> dict[str, Any]:
        """The state entries passed from step to step, and on to the next window: shapes without the batch."""
        return {"membrane": self.output_shape_of_step}

    def at_rest(self, batch_size: Any) -> State:
        """These entries before the first step: the membrane potential at `starting_potential`, others zero."""
        starts = {"membrane": self.starting_potential}
        return {
            name: _filled((batch_size, *shape), starts.get(name, 0.0)) for name, shape in self.carried_shapes.items()
        }

    def neurons(self) -> list[NeuronCell]:
        return [self]

    def sources(self, before: Sequence[keras.layers.Layer] = ()) -> list[list[keras.layers.Layer]]:
        return [nearest([self.synapse], before)]

    def passed_on(self, before: Sequence[keras.layers.Layer] = ()) -> list[keras.layers.Layer]:
        return [] if self.has_threshold else self.sources(before)[-1]

    def affine_parts(self) -> list[tuple[keras.layers.Layer, tuple[int, ...]]]:
        return [(self.synapse, self.input_shape_of_step)]

    def initial_state(
        self,
        batch_size: Any,
        carried: State | None = None,
        gradient: str | None = None,
        recorded: bool = False,
        dropout: bool = False,
    ) -> State:
        """The state before the first step.

        Args:
            batch_size: number of samples.
            carried: initial values, the entries of `carried_shapes`, (B, ...) float32; None for `at_rest`.
            gradient: that of the `SpikingRNN`, if a derivative is needed: also carry what it requires, the record of
                `keras_spiking_bp.cells.record`, or for `bptt` the `slot` that carries the leak correction backwards.
            recorded: also record the spikes.
            dropout: also draw the mask `keep`, used at all steps.
        """
        state = self.at_rest(batch_size) if carried is None else dict(carried)
        if gradient == "bptt":
            state["slot"] = tf.zeros(())
        if dropout and self.dropout:
            state["keep"] = self.draw_keep(batch_size)
        return state | self.blank_record(state, gradient, recorded)

    def blank_record(self, carried: State, gradient: str | None, recorded: bool) -> State:
        """The blank record before the first step; arguments as in `initial_state`."""
        return {}

    def correction(self, state: State) -> tf.Tensor:
        """The leak correction of the derivative, for the `slot`; a scalar where no spike needs one."""
        return tf.ones(())

    def penalty(self, state: State, num_steps: tf.Tensor) -> tf.Tensor | None:
        """The penalty on the activity in a window of `num_steps`, from the state after `accumulate`."""
        return None

    def activity(self, state: State, num_steps: tf.Tensor) -> dict[str, tf.Tensor]:
        """Activity over the window of `num_steps`, from the final state."""
        return {"membrane": state["membrane"]}

    def draw_keep(self, batch_size: Any) -> tf.Tensor:
        """A dropout mask (B, ...): 0 with probability `dropout`, else 1 / (1 - dropout)."""
        raise NotImplementedError

    @property
    def plain_state_shapes(self) -> list[Any]:
        return [*self.carried_shapes.values(), *([self.output_shape_of_step] if self.dropout else [])]

    def plain_initial_state(self, batch_size: Any) -> list[tf.Tensor]:
        states = list(self.at_rest(batch_size).values())
        if self.dropout:  # stored as the difference from 1, so that the zeros of `reset_state` mean "no dropout"
            states.append(self.draw_keep(batch_size) - 1.0)
        return states


def build_part(layer: keras.layers.Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Builds a cell, or a layer beside cells, on the input of one step; returns the shape of its output, both without
    the batch.

    Raises:
        ValueError: if a cell is built already for another shape, which its neurons have.
    """
    if not isinstance(layer, Cell):
        return build_synapse(layer, (None, *shape))[1]
    if not layer.built:
        layer.build((None, *shape))
    known = tuple(getattr(layer, "input_shape_of_step", shape))
    if known != tuple(shape):
        raise ValueError(
            f"The cell {layer.name!r} has neurons for inputs of the shape {known}, for which it was built. Received: "
            f"inputs of the shape {tuple(shape)}. Make a new cell for them, and give it the weights: "
            "new.set_weights(old.get_weights())"
        )
    return tuple(layer.compute_output_shape((None, *shape)))[1:]


def check_no_activity_regularizer(cell: Cell, where: str) -> None:
    """Rejects penalties on firing rates where spike counts have no derivative."""
    for neuron in cell.neurons():
        if neuron.activity_regularizer is not None:
            raise ValueError(
                f"`activity_regularizer` of {neuron.name!r} needs the derivative of spike counts, which {where} does "
                "not give: use SpikingRNN with gradient='accumulated' or 'bounded'. With 'bptt', and in a recurrent "
                "network, penalise the spikes of a SpikingRNN with return_sequences=True: call "
                "keras.layers.ActivityRegularization on them"
            )


def _filled(shape: tuple, value: Any) -> tf.Tensor:
    return tf.fill(shape, value) if isinstance(value, float) else tf.zeros(shape) + value


def _rnn_size(shape: tuple[int, ...] | None) -> Any:
    if shape is None:
        return -1
    return shape[0] if len(shape) == 1 else shape
