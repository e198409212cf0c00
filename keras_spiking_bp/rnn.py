"""`SpikingRNN`: runs a cell over time and carries the derivative back."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.cells.base import Cell, build_part, unique_names
from keras_spiking_bp.cells.normalization import (
    learning_normalizations,
    moving_statistics,
    statistics_of_batch,
    untouched,
)
from keras_spiking_bp.cells.tree import used_twice
from keras_spiking_bp.gradient_rules import check_built_rule, check_rule
from keras_spiking_bp.gradients import (
    after_reads,
    deliver_corrections,
    derived_on_demand,
    gradient_wanted,
    per_sample,
    per_step,
    spread_over_steps,
    total_over_steps,
)
from keras_spiking_bp.kernels.switch import in_training
from keras_spiking_bp.time_loop import Window, changes_variables, run_window
from keras_spiking_bp.validation import check_float32_policy, check_mask, check_static_shape, finite, named

States = list[tf.Tensor]


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
      or, for cells with a surrogate, rate-based backpropagation.
    * `"bounded"`: the same, but without a surrogate the derivative is that of a count between its bounds: 0 where a
      neuron fired at every step, or has no charge (`gradients.within_bounds`), 1 / threshold elsewhere. For few time
      steps.
    * `"bptt"`: step by step, back through the loop; time and memory grow with T. Accepts any synapse; one that draws
      random numbers redraws them at each step. The authors' code or, for cells with a surrogate, surrogate-gradient
      backpropagation as in snnTorch and SpikingJelly.

    No gradient flows into `initial_state` or from the returned states: they are constants.

    Args:
        cell: a cell, such as `SequentialCell([...])`: one time step of the whole network.
        gradient: `"accumulated"`, `"bounded"` or `"bptt"`.
        return_sequences, return_state, go_backwards, stateful, unroll, zero_output_for_mask: as in
            `keras.layers.RNN`.

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
        ValueError: if `gradient` is unknown, the shape of a step is not fully known, a synapse is not affine or draws
            random numbers where it must not, or adds a loss, a batch normalisation stands behind a layer that is not
            affine, a cell has an `activity_regularizer` with `"bptt"`, a `RecurrentCell` or a learned parameter is used
            without `"bptt"`, or the shape of `mask` is wrong.

    Example:
        >>> cell = SequentialCell([
        ...     LIFCell(keras.layers.Dense(20, use_bias=False)),
        ...     ReadoutCell(keras.layers.Dense(3, use_bias=False)),
        ... ])
        >>> spikes = np.random.default_rng(0).integers(0, 2, (2, 25, 8)).astype("float32")
        >>> SpikingRNN(cell)(spikes).shape
        TensorShape([2, 3])
    """

    def __init__(
        self,
        cell: Cell,
        gradient: str = "accumulated",
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ):
        if not isinstance(cell, Cell):
            raise TypeError(
                "`cell` must be a cell of keras_spiking_bp, such as LIFCell or SequentialCell. "
                f"Received: cell={cell!r} (type {type(cell).__name__})"
            )
        check_rule(gradient, cell)
        kwargs.setdefault("dtype", "float32")
        super().__init__(
            cell,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            zero_output_for_mask=zero_output_for_mask,
            **kwargs,
        )
        check_float32_policy("SpikingRNN", self.dtype_policy)
        self.gradient = gradient

    # --- shapes and states -------------------------------------------------------------------------------------------

    def build(self, sequences_shape: tuple, initial_state_shape: Any = None) -> None:
        if any(isinstance(size, (str, dict, list, tuple)) for size in sequences_shape):  # a structure of shapes
            raise ValueError(
                f"`sequences` must be one tensor, (batch, time steps, ...). Received: several, {sequences_shape!r}"
            )
        if len(sequences_shape) < 3:
            raise ValueError(
                "`sequences` must have the shape (batch, time steps, ...) with at least 3 dimensions. "
                f"Received: {tuple(sequences_shape)}. An encoder such as PoissonEncoder(num_steps) adds the time steps"
            )
        check_static_shape("shape of one time step", sequences_shape[2:])
        build_part(self.cell, sequences_shape[2:])  # here, as Keras 3.8 takes the layer for built before the checks
        check_built_rule(self.gradient, self.cell, tuple(sequences_shape[2:]))
        super().build(sequences_shape, initial_state_shape)

    def compute_output_shape(self, sequences_shape: tuple, initial_state_shape: Any = None) -> Any:
        batch_size, num_steps = sequences_shape[:2]
        output_shape = self.cell.output_shape_of_step
        steps = (num_steps,) if self.return_sequences else ()
        output_shape = (batch_size, *steps, *output_shape)
        if not self.return_state:
            return output_shape
        states = [(batch_size, *shape) for n in self.cell.neurons() for shape in n.carried_shapes.values()]
        if self.cell.emits == "spikes":
            states.append((batch_size, *self.cell.output_shape_of_step))
        return (output_shape, *states, (batch_size,))

    def compute_mask(self, _: Any, mask: Any) -> Any:
        output_mask = mask if self.return_sequences else None
        if not self.return_state:
            return output_mask
        carried = sum(len(neuron.carried_shapes) for neuron in self.cell.neurons())
        return [output_mask] + [None] * (carried + 1 + (self.cell.emits == "spikes"))

    def get_initial_state(self, batch_size: Any) -> list[tf.Tensor]:
        """Initial states of the neurons; output spikes so far, if the output spikes; steps so far, (B,)."""
        zeros = [tensor for neuron in self.cell.neurons() for tensor in neuron.at_rest(batch_size).values()]
        if self.cell.emits == "spikes":
            zeros.append(tf.zeros((batch_size, *self.cell.output_shape_of_step)))
        return [*zeros, tf.zeros((batch_size,))]

    def reset_state(self) -> None:
        """Resets a stateful layer to the state before its first step (Keras' own writes zeros)."""
        if not self.stateful:
            raise ValueError("`reset_state` is for a layer with stateful=True. Received: stateful=False")
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
        if mask is None:  # Keras passes it on only to layers that are called with one tensor
            mask = getattr(sequences, "_keras_mask", None)
        sequences = tf.convert_to_tensor(sequences)
        at_rest = initial_state is None and not self.stateful
        initial_state = self._starting_state(initial_state, sequences)
        sequences, mask = self._checked(sequences, mask)

        def run(sequences: tf.Tensor, gradient: str | None) -> tuple[tf.Tensor, list[tf.Tensor]]:
            # made here again, where the derivative of a later tape sees a learned threshold
            start = self._starting_state(None, sequences) if at_rest else initial_state
            window = self._run(sequences, start, mask, training, gradient)
            return self._output(window, start, mask, gradient), self._states_after(window, start)

        if gradient_wanted(training):
            if training:
                self._take_first_statistics(sequences, initial_state, mask)
            window = self._run(sequences, initial_state, mask, training, self.gradient)
            self._add_penalties(window)
            output = self._output(window, initial_state, mask, self.gradient)
            states = self._states_after(window, initial_state)
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
            `leak_correction`.

        Raises:
            ValueError: if two cells have the same name.

        Example:
            >>> layer = SpikingRNN(LIFCell(keras.layers.Dense(3), name="hidden"))
            >>> _, activity = layer.observe(np.ones((2, 20, 4), "float32"))
            >>> activity["hidden"]["spike_count"].shape
            TensorShape([2, 3])
        """
        names = unique_names(self.cell)
        sequences = tf.convert_to_tensor(sequences)
        if not self.built:
            self.build(sequences.shape)
        initial_state = self._starting_state(initial_state, sequences)
        sequences, mask = self._checked(sequences, mask)
        window = self._run(sequences, initial_state, mask, False, None, recorded=True)
        states = zip(self.cell.neurons(), window.states, strict=True)
        activities = [neuron.activity(state, window.num_steps) for neuron, state in states]
        return self._output(window, initial_state, mask, None), dict(zip(names, activities, strict=True))

    def take_statistics(
        self,
        sequences: tf.Tensor,
        initial_state: list[tf.Tensor] | None = None,
        mask: tf.Tensor | None = None,
        runs: int | None = None,
    ) -> None:
        """Sets the moving statistics of batch normalisation in synapses to those of the given data, layer by layer.

        The network runs once for each such layer: each run corrects the statistics of one more layer. Does nothing if
        no such layer learns. The first training step does it for the layers of which no statistics have been taken yet;
        on several devices (`tf.distribute`) each takes those of its share of the batch. It does not on several devices
        if one of these layers has `synchronized=True`, or a custom layer changes variables in its call: then call
        `calibrate(model, inputs, firing_rate=None)` before training.

        Args:
            sequences, initial_state, mask: as in the call of the layer.
            runs: how many times the network runs; None for as many as all statistics need. 1 suffices for those after
                layers whose statistics are correct.
        """
        sequences = tf.convert_to_tensor(sequences)
        initial_state = self._starting_state(initial_state, sequences)
        sequences, mask = self._checked(sequences, mask)
        if layers := learning_normalizations(self.cell):
            found = self._statistics_of_batch(sequences, initial_state, mask, runs)
            for variable, value in zip(moving_statistics(layers), found, strict=True):
                variable.assign(value)

    def _statistics_of_batch(
        self,
        sequences: tf.Tensor,
        initial_state: States,
        mask: tf.Tensor | None,
        runs: int | None = None,
        only: tf.Tensor | None = None,
    ) -> list[tf.Tensor]:
        def walk() -> None:
            window = self._run(sequences, initial_state, mask, False, None, recorded=True)
            self.cell.accumulate(window.total_input, window.states, tf.maximum(window.num_steps, 1.0), training=True)

        return statistics_of_batch(self.cell, walk, runs, only)

    def _take_first_statistics(self, sequences: tf.Tensor, initial_state: States, mask: tf.Tensor | None) -> None:
        """In the first training step: with mean 0 and variance 1 the last layers of a deep network are dead."""
        layers = learning_normalizations(self.cell)
        if not layers:
            return
        several = tf.distribute.get_strategy().num_replicas_in_sync > 1
        if several and (any(norm.synchronized for norm in layers) or changes_variables(self.cell)):
            return  # replicas cannot exchange values, nor update variables, within a cond
        first, variables = untouched(layers), moving_statistics(layers)
        values = tf.cond(
            tf.reduce_any(first),
            lambda: self._statistics_of_batch(sequences, initial_state, mask, only=first),
            lambda: [tf.identity(variable.value) for variable in variables],
        )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def _run(
        self,
        sequences: tf.Tensor,
        initial_state: States,
        mask: tf.Tensor | None,
        training: bool | None,
        gradient: str | None,
        recorded: bool = False,
    ) -> Window:
        """The loop over time; its total (or outputs) has the derivative of `gradient` (None: none)."""
        given = iter(initial_state)
        states = [
            neuron.initial_state(
                tf.shape(sequences)[0],
                {name: next(given) for name in neuron.carried_shapes},
                gradient,
                recorded,
                dropout=bool(training),
            )
            for neuron in self.cell.neurons()
        ]
        if self.cell.emits == "potential":
            states[-1].pop("potential_sum", None)  # no cell follows the last readout
        with in_training(bool(training)):
            window = run_window(
                self.cell,
                sequences,
                states,
                mask=mask,
                keep_outputs=self.return_sequences,
                zero_output_for_mask=self.zero_output_for_mask,
                unroll=self.unroll,
                differentiable=gradient == "bptt",
            )
        if gradient is None:
            return window
        constant = window.without_gradient()
        num_steps = tf.maximum(window.num_steps, 1.0)
        if gradient == "bptt":
            if training and learning_normalizations(self.cell):  # to update them: the gradient goes through the loop
                self.cell.accumulate(constant.total_input, constant.states, num_steps, training)
            return self._with_corrections(window)
        total_input = total_over_steps(sequences, constant.total_input, mask)
        total = after_reads(
            lambda: self.cell.accumulate(total_input, constant.states, num_steps, training=bool(training))
        )
        return dataclasses.replace(constant, total=_of_steps_alone(total, window.num_steps))

    def _with_corrections(self, window: Window) -> Window:
        """The gradient goes back through the loop; the leak corrections, only known now, enter with it."""
        slots = [state["slot"] for state in window.states]
        corrections = [n.correction(state) for n, state in zip(self.cell.neurons(), window.states, strict=True)]
        name = "outputs" if self.return_sequences else "total"
        output = deliver_corrections(getattr(window, name), slots, corrections)
        return dataclasses.replace(window, **{name: output})

    def _add_penalties(self, window: Window) -> None:
        """The penalties on firing rates, from the counts with their derivative."""
        if self.gradient == "bptt":  # has none: see `__init__`
            return
        for neuron, state in zip(self.cell.neurons(), window.states, strict=True):
            if "count" in state:
                state["count"] = _of_steps_alone(state["count"], window.num_steps)
            penalty = neuron.penalty(state, tf.maximum(window.num_steps, 1.0))
            if penalty is not None:
                neuron.add_loss(penalty)

    def _starting_state(self, initial_state: States | None, sequences: tf.Tensor) -> States:
        """The states before the first step, as constants; those of rest follow a learned threshold."""
        at_rest = initial_state is None and not self.stateful
        if initial_state is None:
            initial_state = self.states if self.stateful else self.get_initial_state(tf.shape(sequences)[0])
        names = [f"{entry} of {n.name}" for n in self.cell.neurons() for entry in n.carried_shapes]
        names += (["spikes so far"] if self.cell.emits == "spikes" else []) + ["steps so far"]
        if len(initial_state) != len(names):
            raise ValueError(f"`initial_state` must hold {names}. Received: {len(initial_state)} tensors")
        states = [tf.cast(state, tf.float32) for state in initial_state]
        return states if at_rest else [tf.stop_gradient(state) for state in states]

    def _states_after(self, window: Window, initial_state: States) -> States:
        """The states after the last step, as constants."""
        neurons = zip(self.cell.neurons(), window.states, strict=True)
        after = [tensor for neuron, state in neurons for tensor in neuron.carried(state)]
        if self.cell.emits == "spikes":
            after.append(initial_state[-2] + window.total)
        return [tf.stop_gradient(state) for state in (*after, initial_state[-1] + window.num_steps)]

    def _output(self, window: Window, initial_state: States, mask: tf.Tensor | None, gradient: str | None) -> tf.Tensor:
        """The total over the steps so far, or the output of each step, with the derivative that the window has."""
        steps_before = initial_state[-1]
        steps = tf.maximum(steps_before + window.num_steps, 1.0)  # a sample may be fully masked
        if not self.return_sequences:
            total = window.total + (initial_state[-2] if self.cell.emits == "spikes" else 0.0)
            return total / per_sample(steps, total)
        output, shown = self._outputs_of_steps(window.outputs, steps_before, mask)
        if gradient in (None, "bptt"):
            return output
        divisor = tf.maximum(window.num_steps, 1.0) if self.cell.emits == "spikes" else steps
        return spread_over_steps(window.total, output, divisor, shown)

    def _outputs_of_steps(self, outputs, steps_before, mask):
        """The outputs of all steps, potentials divided by the steps so far; and which steps show one (None: all)."""
        if mask is None:
            steps = tf.range(1, tf.shape(outputs)[1] + 1)[None]
            shown = None
        else:
            steps = tf.cumsum(tf.cast(mask, tf.int32), axis=1)
            shown = mask if self.zero_output_for_mask else steps > 0
        if self.cell.emits == "potential":
            steps = tf.maximum(steps_before[:, None] + tf.cast(steps, tf.float32), 1.0)
            outputs = outputs / per_step(steps, outputs)
        return outputs, shown

    def _checked(self, sequences, mask):
        if self.stateful and not sequences.shape[:1].is_compatible_with(self.states[0].shape[:1]):
            raise ValueError(
                f"`sequences` must have the batch size of the carried states of this stateful layer, "
                f"{self.states[0].shape[0]}. Received: sequences of shape {tuple(sequences.shape)}"
            )
        step_shape = getattr(self.cell, "input_shape_of_step", sequences.shape[2:])
        if not sequences.shape[2:].is_compatible_with(step_shape):
            raise ValueError(
                f"`sequences` must have the step shape that {self.name!r} was built for, {tuple(step_shape)}. "
                f"Received: sequences of shape {tuple(sequences.shape)}"
            )
        if not sequences.shape[2:].is_fully_defined():  # as of images decoded in tf.data
            sequences = tf.ensure_shape(sequences, (*sequences.shape[:2], *step_shape))
        if mask is not None:
            mask = tf.cast(mask, tf.bool)
            check_mask(mask, sequences)
        if sequences.dtype.is_floating:  # a NaN would silently become the absence of spikes
            if mask is not None:
                sequences = tf.where(per_step(mask, sequences), sequences, tf.zeros_like(sequences))
            sequences = finite("sequences", sequences, self.name)
        if self.go_backwards:
            sequences = tf.reverse(sequences, [1])
            mask = None if mask is None else tf.reverse(mask, [1])
        return sequences, mask

    def get_config(self) -> dict[str, Any]:
        _check_nothing_shared(self.cell)
        return self.config_of_uses()

    def config_of_uses(self) -> dict[str, Any]:
        """As `get_config`, but a layer that several cells use has an entry for each of them."""
        return {**super().get_config(), "gradient": self.gradient}


def _of_steps_alone(total: tf.Tensor, num_steps: tf.Tensor) -> tf.Tensor:
    """The same, without a gradient to samples of which a mask leaves no step: a bias would count as one step."""
    if num_steps.shape.rank == 0:  # without a mask
        return total
    return tf.where(per_sample(num_steps > 0, total), total, tf.stop_gradient(total))


def _check_nothing_shared(cell: Cell) -> None:
    """Rejects weights that several cells use: a config holds two layers, and a file the weights of one."""
    try:
        shared = used_twice(cell)
    except TypeError:  # a kind of cell of the user's
        return
    if shared is not None:
        raise ValueError(
            f"The layer {named(shared)} is used by several cells, and the config of a model does not keep that. "
            "Save the weights alone (`save_weights`), and build the network in code before loading them"
        )
