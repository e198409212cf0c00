"""`SpikingRNN`: runs a cell over time and carries the derivative back."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.cells.affine import check_affine
from keras_spiking_bp.cells.base import Cell
from keras_spiking_bp.cells.synapse import build_part
from keras_spiking_bp.cells.walk import check_nothing_shared, checked_names
from keras_spiking_bp.encoders import DeltaEncoder
from keras_spiking_bp.encoders.base import Encoder
from keras_spiking_bp.gradients.tracing import derived_on_demand, gradient_wanted
from keras_spiking_bp.rnn import carried, derivative
from keras_spiking_bp.rnn.carried import Carried
from keras_spiking_bp.rnn.derivative import check_rule
from keras_spiking_bp.rnn.time_loop import Window
from keras_spiking_bp.rnn.window import at_each_step, at_the_end, of_shape, shape_of_step, without_masked
from keras_spiking_bp.utils.validation import check_float32_policy, check_positive_int, named


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class SpikingRNN(keras.layers.RNN):
    """Runs a spiking cell over the time steps of its input, with spike-based backpropagation.

    The output is divided by the number of steps: for a network that ends in a `ReadoutCell` it is the potential
    `V[T] / T`, for one that ends in a spiking cell the firing rates `spike_count / T`. With
    `return_sequences=True` it is `V[t] / t` for each step t (an anytime prediction), or the spikes of each step. T
    counts the unmasked steps since the start, also across the chunks of a `stateful` layer.

    How errors propagate back through time (the derivative of a spike is an argument of the cells,
    `LIFCell(surrogate=...)`; all equations are in `keras_spiking_bp.gradients`):

    * `"accumulated"`: once, on totals over the window: the backward pass is that of an ordinary feed-forward network,
      and nothing but the input grows with T. Synapses must be affine. With `return_sequences=True` the incoming
      gradient is averaged over time; every input step gets the same gradient. The paper's chain rule on spike counts
      or, for cells with a surrogate, rate-based backpropagation; with `surrogate="bounded"` the slope
      of a count between its bounds, for few time steps.
    * `"bptt"`: step by step, back through the loop; time and memory grow with T. Accepts any synapse; one that draws
      random numbers redraws them at each step. The authors' code or, for cells with a surrogate, surrogate-gradient
      backpropagation as in snnTorch, and in SpikingJelly with detach_reset=True.

    No gradient flows into `initial_state` or from the returned states: they are constants. Under `"accumulated"`,
    a second derivative takes the slopes of the spikes as constants; with a `surrogate`, `"bptt"` does not.

    Args:
        cell: a cell, such as `SequentialCell([...])`: one time step of the whole network.
        gradient: `"accumulated"` or `"bptt"`.
        block_size: so many time steps go through a layer at once: memory and speed depend on it, spikes do not. None
            chooses: as many as fit a cache, or on a GPU all of a short window.
        return_sequences, return_state, go_backwards, stateful, unroll, zero_output_for_mask: as in
            `keras.layers.RNN`. Call `reset_state` of a stateful layer after loading weights, if its neurons start at a
            fraction of a learned threshold. Freeze the layer by `layer.trainable = False`: as an argument of the
            constructor it would not reach the cell.

    Call arguments:
        sequences: input spikes or currents, (B, T, ...), of any real dtype.
        initial_state: list as returned with `return_state`: for each layer of neurons the membrane potential, then the
            synaptic current and the spikes of the previous step, if any; for a network that ends in spikes, their
            number so far; the number of steps so far, (B,).
        mask: boolean (B, T), False for steps to skip. A sample without a step has no gradient, but takes part in the
            statistics of batch normalisation: leave it out of the batch.

    Returns:
        float32 tensor (B, ...), or (B, T, ...) with `return_sequences=True`; with `return_state=True` followed by the
        states.

    Raises:
        TypeError: if `cell` is not a cell of this library.
        ValueError: if `gradient` is unknown or a layer of `cell` does not work under it (a synapse that is not affine,
            a `RecurrentCell` or a learned parameter under `"accumulated"`; `surrogate="bounded"` or an
            `activity_regularizer` under `"bptt"`), the dtype policy is not float32, or `sequences`, `mask` or a state
            have another shape than the layer takes.
        tf.errors.InvalidArgumentError: if `sequences` have NaN or infinity, or, where their batch size is unknown in
            the graph, another one than the states, or no step with `return_sequences` (not under XLA, which leaves
            checks out).

    Example:
        >>> cell = SequentialCell([
        ...     LIFCell(keras.layers.Dense(20, use_bias=False)),
        ...     ReadoutCell(keras.layers.Dense(3, use_bias=False)),
        ... ])
        >>> spikes = np.random.default_rng(0).integers(0, 2, (2, 25, 8)).astype("float32")
        >>> SpikingRNN(cell)(spikes).shape
        TensorShape([2, 3])
    """

    def __init__(self, cell: Cell, gradient: str = "accumulated", block_size: int | None = None, **kwargs: Any):
        if not isinstance(cell, Cell):
            raise TypeError(
                "`cell` must be a cell of keras_spiking_bp, such as LIFCell or SequentialCell. "
                f"Received: cell={cell!r} (type {type(cell).__name__})"
            )
        for layer in cell._flatten_layers():
            if isinstance(layer, (Encoder, DeltaEncoder)):
                raise ValueError(
                    f"`cell` must not hold an encoder, which works on all time steps: call it before the SpikingRNN. "
                    f"Received: {named(layer)} in the cell {cell.name!r}"
                )
        kwargs.setdefault("dtype", "float32")
        super().__init__(cell, **kwargs)
        check_float32_policy("SpikingRNN", self.dtype_policy)
        self.gradient = gradient
        self.block_size = None if block_size is None else check_positive_int("block_size", block_size)

    @property
    def gradient(self) -> str:
        """How errors propagate back through time. A compiled model must be compiled again after a change."""
        return self._gradient

    @gradient.setter
    def gradient(self, gradient: str) -> None:
        check_rule(gradient, self.cell)
        if self.built and gradient == "accumulated":
            check_affine(self.cell.affine_parts(), gradient)
        self._gradient = gradient

    def __call__(self, sequences: Any, *args: Any, **kwargs: Any) -> Any:
        source = getattr(getattr(sequences, "_keras_history", None), "operation", None)
        if isinstance(source, SpikingRNN) and not source.return_sequences:  # else a row of an image would be a step
            raise ValueError(
                f"`sequences` must have time steps. Received: the output of {source.name!r}, which has none: give it "
                "return_sequences=True"
            )
        if kwargs.get("mask") is None and not isinstance(sequences, keras.KerasTensor):
            mask = getattr(sequences, "_keras_mask", None)  # which Keras up to 3.13 loses where it casts `sequences`
            kwargs |= {} if mask is None else {"mask": mask}
        return super().__call__(sequences, *args, **kwargs)

    # --- shapes and states -------------------------------------------------------------------------------------------

    def build(self, sequences_shape: tuple, initial_state_shape: Any = None) -> None:
        step_shape = shape_of_step(sequences_shape)
        build_part(self.cell, step_shape)  # here: Keras takes the cell for built, whatever the checks find
        carried.check_names(self.cell)
        if self.gradient == "accumulated":
            check_affine(self.cell.affine_parts(), self.gradient)
        super().build(sequences_shape, initial_state_shape)

    def compute_output_shape(self, sequences_shape: tuple, initial_state_shape: Any = None) -> Any:
        batch_size, num_steps = sequences_shape[:2]
        steps = (num_steps,) if self.return_sequences else ()
        output_shape = (batch_size, *steps, *self.cell.output_shape_of_step)
        if not self.return_state:
            return output_shape
        return (output_shape, *((batch_size, *shape) for _, shape in carried.entries(self.cell)))

    def compute_mask(self, _: Any, mask: Any) -> Any:
        output_mask = mask if self.return_sequences else None
        if self.go_backwards and output_mask is not None:  # in the order of the outputs
            output_mask = keras.ops.flip(output_mask, axis=1)
        if not self.return_state:
            return output_mask
        return [output_mask] + [None] * len(carried.entries(self.cell))

    def get_initial_state(self, batch_size: Any) -> list[tf.Tensor]:
        """The states before the first step: of the neurons, output spikes so far if it spikes, steps so far, (B,)."""
        return carried.at_rest(self.cell, batch_size).flat()

    def reset_state(self) -> None:
        """Resets a stateful layer to the state before its first step (Keras' own writes zeros)."""
        if self.built:
            for variable, state in zip(self.states, self.get_initial_state(self.states[0].shape[0]), strict=True):
                variable.assign(state)

    # --- the run -----------------------------------------------------------------------------------------------------

    def call(
        self,
        sequences: tf.Tensor,
        initial_state: list[tf.Tensor] | None = None,
        mask: tf.Tensor | None = None,
        training: bool | None = False,
    ) -> Any:
        at_rest = initial_state is None and not self.stateful
        constant = getattr(sequences, "_of_each_step", None) if mask is None else None
        sequences, before, mask = self.checked_inputs(sequences, initial_state, mask)

        def run(sequences: tf.Tensor, gradient: str | None) -> tuple[tf.Tensor, list[tf.Tensor]]:
            # made here again, where the derivative of a later tape sees a learned threshold
            start = self._start(None, sequences) if at_rest else before
            window = self._run(sequences, start, mask, training, gradient, constant)
            return self._output(window, start, mask, gradient), carried.after(self.cell, window, start).flat()

        if gradient_wanted(training):
            window = self._run(sequences, before, mask, training, self.gradient, constant)
            if self.gradient == "accumulated":  # `check_rule` allows none else
                derivative.add_penalties(self.cell, window)
            output = self._output(window, before, mask, self.gradient)
            states = carried.after(self.cell, window, before).flat()
        elif tf.executing_eagerly():
            output, states = run(sequences, None)
        else:
            output, states = derived_on_demand(lambda x: run(x, None), lambda x: run(x, self.gradient)[0], sequences)
        if self.stateful:
            for variable, state in zip(self.states, states, strict=True):
                variable.assign(state)
        return (output, *states) if self.return_state else output

    def observe(
        self,
        sequences: tf.Tensor,
        initial_state: list[tf.Tensor] | None = None,
        mask: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, dict[str, dict[str, tf.Tensor]]]:
        """Runs the network once and returns the activity of its neurons.

        Args:
            sequences, initial_state, mask: as in the call of the layer.

        Returns:
            The output of the layer (no states), and the activity: for each layer of neurons, by the name of its cell in
            execution order, a dictionary of float32 tensors (B, ...): `membrane` after the last step and, except for a
            readout, `spike_count`; for LIF and pooling neurons also `leaky_trace`, `last_spike` (1-based, 0: never) and
            `leak_correction`. Neither has a derivative through spikes: call the layer for one.

        Raises:
            ValueError: if two cells have the same name.

        Example:
            >>> layer = SpikingRNN(LIFCell(keras.layers.Dense(3), name="hidden"))
            >>> _, activity = layer.observe(np.ones((2, 20, 4), "float32"))
            >>> activity["hidden"]["spike_count"].shape
            TensorShape([2, 3])
        """
        names = checked_names(self.cell)
        sequences, before, mask = self.checked_inputs(sequences, initial_state, mask)
        window = derivative.run(
            self.cell, sequences, before, mask, False, None, True, self.return_sequences, self.zero_output_for_mask
        )
        states = zip(self.cell.neurons(), window.states, strict=True)
        activities = [neuron.activity(state, window.num_steps) for neuron, state in states]
        return self._output(window, before, mask, None), dict(zip(names, activities, strict=True))

    def _run(
        self,
        sequences: tf.Tensor,
        before: Carried,
        mask: tf.Tensor | None,
        training: bool | None,
        gradient: str | None,
        constant: tf.Tensor | None = None,
    ) -> Window:
        options = (self.return_sequences, self.zero_output_for_mask, self.unroll, self.block_size, constant)
        return derivative.run(self.cell, sequences, before, mask, bool(training), gradient, False, *options)

    def _start(self, initial_state: list[tf.Tensor] | None, sequences: tf.Tensor) -> Carried:
        """The states before the first step: constants, except those at rest, which follow a learned threshold."""
        if initial_state is None and not self.stateful:
            return carried.at_rest(self.cell, tf.shape(sequences)[0])
        return carried.given(self.cell, self.states if initial_state is None else initial_state, sequences)

    def _output(self, window: Window, before: Carried, mask: tf.Tensor | None, gradient: str | None) -> tf.Tensor:
        """What the layer returns of a window, with the derivative that the window has."""
        if not self.return_sequences:
            return at_the_end(window, before)
        return at_each_step(window, before, mask, self.zero_output_for_mask, gradient == "accumulated")

    def checked_inputs(
        self, sequences: Any, initial_state: list[tf.Tensor] | None, mask: Any
    ) -> tuple[tf.Tensor, Carried, tf.Tensor | None]:
        """Inputs, states before the first step, and mask, verified, as the loop takes them. Builds the layer."""
        if mask is None:  # in `observe` and `take_statistics`
            mask = getattr(sequences, "_keras_mask", None)
        sequences = tf.convert_to_tensor(sequences)
        if not self.built:
            self.build(sequences.shape)
        step_shape = getattr(self.cell, "input_shape_of_step", sequences.shape[2:])
        sequences = of_shape(sequences, step_shape, self.name)
        before = self._start(initial_state, sequences)
        if sequences.shape[0] is None:  # the loop would change the shape of states of one sample, which broadcast to it
            sequences = tf.ensure_shape(sequences, (before.steps.shape[0], *sequences.shape[1:]))
        sequences, mask = without_masked(sequences, mask, self.name)
        if self.go_backwards:
            sequences = tf.reverse(sequences, [1])
            mask = None if mask is None else tf.reverse(mask, [1])
        return sequences, before, mask

    def get_config(self) -> dict[str, Any]:
        check_nothing_shared(self.cell)
        return {**super().get_config(), "gradient": self.gradient, "block_size": self.block_size}
