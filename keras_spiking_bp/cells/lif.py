"""The leaky integrate-and-fire neuron with any synapse."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.cells import record
from keras_spiking_bp.cells.block import Block, State
from keras_spiking_bp.cells.neuron import NeuronCell, integrate
from keras_spiking_bp.cells.synapse import input_dtype
from keras_spiking_bp.gradients import surrogates
from keras_spiking_bp.gradients.bptt import lif_step_bptt, lif_step_surrogate
from keras_spiking_bp.gradients.slopes import leak_correction
from keras_spiking_bp.gradients.totals import spike_total
from keras_spiking_bp.kernels.lif_step import lif_step
from keras_spiking_bp.utils import neuron_parameters as parameters
from keras_spiking_bp.utils.randomness import SavesItsSeed, draws_below
from keras_spiking_bp.utils.validation import check_beta, check_choice, check_rate, check_seed, check_threshold

#: What happens to the membrane potential of a neuron that fires.
RESET_MECHANISMS = ("zero", "subtract")


@keras.saving.register_keras_serializable(package="keras_spiking_bp")
class LIFCell(SavesItsSeed, NeuronCell):
    """A synapse and a layer of leaky integrate-and-fire (LIF) neurons, for one time step.

    With `I[t] = synapse(inputs[t])`:

        membrane <- membrane + I[t]
        spikes[t] = 1 if membrane > threshold else 0
        membrane <- 0 where it fired ("zero"), or membrane - threshold * spikes[t] ("subtract")
        membrane <- beta * membrane

    Source: arXiv 1903.06379, "The Spiking Neuron"; the leak follows firing and reset, as in the authors' code. The
    derivatives are in `keras_spiking_bp.gradients`. With `synaptic_beta` the current has its own decay (a
    current-based, or second-order, neuron: `CubaLIF` in NIR, `Synaptic` in snnTorch):

        current <- synaptic_beta * current + I[t]
        membrane <- membrane + current

    Args:
        synapse: any Keras layer, such as `keras.layers.Conv2D(20, 5, use_bias=False)`. Its output is the current.
        beta: decay of the membrane potential per time step, 0 < beta <= 1; `beta_from_tau` converts a time constant. A
            number, or an array of one per neuron, which broadcasts to the shape of the neurons.
        threshold: membrane potential above which a neuron fires, 1e-30 to 1e30; a number or an array.
        reset_mechanism: `"zero"` (the paper) or `"subtract"`.
        dropout: fraction of the neurons silenced in training, 0 <= dropout < 1. One mask per sample is used at all time
            steps of a call (each chunk of a stateful layer has its own); kept spikes are scaled by 1 / (1 - dropout).
        seed: integer seed of the dropout masks, or None.
        surrogate: surrogate derivative of a spike: `"triangle"`, `"atan"`, `"sigmoid"`, `"fast_sigmoid"`, or an
            instance of a class of `surrogates`; `"bounded"` for that of a count between its bounds
            (`gradient="accumulated"`). None: the paper's derivative, from the spikes alone; in a `RecurrentCell`
            `"fast_sigmoid"`.
        initial_membrane: membrane potential before the first step, as a fraction of the threshold,
            0 <= initial_membrane < 1. At 0.5, with `reset_mechanism="subtract"`, the spike counts of a constant current
            are rounded to the nearest integer, not down, which matters with few steps.
        signed: whether a neuron takes a spike back, by one of -1, when its potential is below 0 and the sum of its
            spikes so far above 0 (Wang et al., "Signed Neuron with Memory", IJCAI 2022). Requires
            `reset_mechanism="subtract"`, which then adds the threshold. Input that comes unevenly costs less accuracy,
            which matters in deep networks with few steps. A surrogate is that of the spikes at the threshold.
        synaptic_beta: decay of the synaptic current per time step, 0 < synaptic_beta <= 1, or None: a current acts only
            in its own step. A number or an array.
        learn_beta, learn_threshold: whether `beta` and `threshold` are trainable, starting at the values given and kept
            in [0.001, 1] and at 0.001 or above. Require a surrogate and `gradient="bptt"`. (Weight decay would pull
            them to 0: `optimizer.exclude_from_weight_decay([cell.beta])` of a built cell.)
        activity_regularizer: a Keras regularizer, or `regularizers.FiringRate`: a penalty on the firing rates
            `spike_count / T`, (B, ...), before dropout; of signed neurons, on the mean of their spikes. `fit` adds it
            to the loss; `evaluate`, which counts no spikes, does not. Requires `gradient="accumulated"`.

    Shapes: inputs (B, ...) as the synapse accepts them; outputs and `membrane` as it returns them. Spikes are 0 or 1
    (with dropout times 1 / (1 - dropout)), in the compute dtype of the synapse; the membrane potential is float32.

    Raises:
        TypeError: if `synapse` is not a layer, or has neurons.
        ValueError: if another argument is out of range, an array does not broadcast, or a parameter is learned without
            a surrogate.

    Example:
        >>> cell = LIFCell(keras.layers.Dense(3, use_bias=False), beta=0.95)
        >>> layer = SpikingRNN(cell, return_sequences=True)
        >>> layer(np.ones((2, 5, 4), "float32")).shape
        TensorShape([2, 5, 3])
    """

    takes_activity_regularizer = True

    def __init__(
        self,
        synapse: keras.layers.Layer,
        beta: float | Sequence | np.ndarray = 0.99,
        threshold: float | Sequence | np.ndarray = 1.0,
        reset_mechanism: str = "zero",
        dropout: float = 0.0,
        seed: int | None = None,
        surrogate: surrogates.Surrogate | str | None = None,
        initial_membrane: float = 0.0,
        signed: bool = False,
        synaptic_beta: float | Sequence | np.ndarray | None = None,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        **kwargs: Any,
    ):
        super().__init__(synapse, **kwargs)
        self.beta = parameters.checked(check_beta, "beta", beta)
        self.threshold = parameters.checked(check_threshold, "threshold", threshold)
        self.reset_mechanism = check_choice("reset_mechanism", reset_mechanism, RESET_MECHANISMS)
        self.dropout = check_rate("dropout", dropout)
        self.surrogate = surrogates.get(surrogate)
        self.initial_membrane = check_rate("initial_membrane", initial_membrane)
        self.synaptic_beta = (
            None if synaptic_beta is None else parameters.checked(check_beta, "synaptic_beta", synaptic_beta)
        )
        self.signed, self.learn_beta, self.learn_threshold = signed, learn_beta, learn_threshold
        if signed and reset_mechanism == "zero":
            raise ValueError(
                "`reset_mechanism` must be 'subtract' with signed=True: a reset to zero forgets what a spike took. "
                "Received: reset_mechanism='zero'"
            )
        if self.learned and self.surrogate is None:
            raise ValueError(
                f"`surrogate` must be given with learn_{self.learned[0]}=True: the paper does not define a derivative "
                f"with respect to {self.learned[0]}. Received: surrogate=None"
            )
        for name in self.learned:
            parameters.check_learnable(name, getattr(self, name))
        self._initial = {"beta": parameters.plain(self.beta), "threshold": parameters.plain(self.threshold)}
        self.feeds_back = False  # set by an enclosing RecurrentCell
        self.seed = check_seed(seed)
        if self.dropout:
            self.start_stream(self.seed)

    def build(self, input_shape: tuple) -> None:
        super().build(input_shape)
        for name in ("beta", "threshold", "synaptic_beta"):
            parameters.check_fits(self.name, name, getattr(self, name), self.output_shape_of_step)
        self.beta = parameters.learned_beta(self, self.beta) if self.learn_beta else self.beta
        self.threshold = parameters.learned_threshold(self, self.threshold) if self.learn_threshold else self.threshold

    @property
    def learned(self) -> list[str]:
        """The names of the parameters that are weights."""
        return [name for name in ("beta", "threshold") if getattr(self, f"learn_{name}")]

    @property
    def kind(self) -> str:
        """The neuron, in `description`."""
        return f"LIF {parameters.shown(self.beta)}"

    @property
    def description(self) -> str:
        """What `summary` prints."""
        current = "" if self.synaptic_beta is None else f", current {parameters.shown(self.synaptic_beta)}"
        starts = f", starts at {parameters.shown(self.starting_potential)}" if self.initial_membrane else ""
        dropout = f", dropout {self.dropout:g}" if self.dropout else ""
        signed = "signed " if self.signed else ""
        return f"{signed}{self.kind}{current}, threshold {parameters.shown(self.threshold)}{starts}{dropout}"

    @property
    def slope_scale(self) -> Any:
        """The factor 1 / threshold of the derivative."""
        return 1.0 / parameters.now(self.threshold)

    @property
    def starting_potential(self) -> Any:
        """The membrane potential before the first step."""
        return self.initial_membrane * parameters.now(self.threshold) if self.initial_membrane else 0.0

    @property
    def carried_shapes(self) -> dict[str, tuple[int, ...] | None]:
        """`membrane`; `current` with `synaptic_beta`; `fed_back`, the previous spikes, in a RecurrentCell; `net_count`,
        the sum of all spikes, of signed neurons.
        """
        names = ["membrane"]
        names += ["current"] if self.synaptic_beta is not None else []
        names += ["fed_back"] if self.feeds_back else []
        names += ["net_count"] if self.signed else []
        return dict.fromkeys(names, self.output_shape_of_step)

    def draw_keep(self, batch_size: Any) -> tf.Tensor:
        """A dropout mask (B, ...): 0 with probability `dropout`, else 1 / (1 - dropout)."""
        shape = (batch_size, *self.output_shape_of_step)
        dropped = draws_below(self.dropout, shape, self.next_seed())
        return tf.cast(~dropped, tf.float32) / (1.0 - self.dropout)

    blank_record = record.start

    def fire_at_once(self, current: tf.Tensor, state: State, block: Block) -> tuple[tf.Tensor, State] | None:
        """By a kernel, if one is on; without a mask, and not in a subclass with a `fire` of its own."""
        if type(self).fire is not LIFCell.fire or block.mask is not None or not isinstance(block.num_steps, int):
            return None
        return self._by_kernel(current, state, block.num_steps)

    def _by_kernel(self, current: tf.Tensor, state: State, num_steps: int = 1) -> tuple[tf.Tensor, State] | None:
        beta, threshold = parameters.now(self.beta), parameters.now(self.threshold)
        resets_to_zero, dtype = self.reset_mechanism == "zero", input_dtype(self.synapse)
        done = lif_step(
            state, current, dtype, beta, threshold, resets_to_zero, self.synaptic_beta, self.surrogate, num_steps,
            self.signed,
        )  # fmt: skip
        if done is None:
            return None
        spikes, new = done
        if "keep" in state:
            spikes = spikes * Block(num_steps).repeat(state["keep"])
        return tf.cast(spikes, dtype), new

    def fire(self, current: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """The neurons without their synapse: integrate, fire, reset, leak.

        Args:
            current: of this step, (B, ...), of any float dtype.
            state: tensors by name, at least those of `carried_shapes`, such as `membrane` (B, ...), float32.

        Returns:
            The spikes (B, ...), in the dtype that the synapse computes in, and the new state. They have no derivative
            unless `state` comes from `initial_state(..., gradient="bptt")`: call the cell, `cell(inputs, states)`, in
            a loop of your own that is trained.
        """
        by_kernel = self._by_kernel(current, state)
        if by_kernel is not None:
            return by_kernel
        beta, threshold = parameters.now(self.beta), parameters.now(self.threshold)
        resets_to_zero, dtype = self.reset_mechanism == "zero", input_dtype(self.synapse)
        new, current = dict(state), tf.cast(current, tf.float32)
        if self.synaptic_beta is not None:
            new["current"] = current = self.synaptic_beta * state["current"] + current
        net_count = state["net_count"] if self.signed else None
        step = functools.partial(
            integrate, beta=beta, threshold=threshold, resets_to_zero=resets_to_zero, net_count=net_count
        )
        potential: Any = None
        if "slot" not in state:
            training = "spike_count" in state
            potential, fired, spikes, new["membrane"] = step(state["membrane"], current, for_training=training)
        else:
            forward = lambda membrane, current: step(membrane, current)[2:]  # noqa: E731
            if self.surrogate is None:
                spikes, new["membrane"], new["slot"] = lif_step_bptt(
                    state["membrane"], current, state["slot"], forward, self.slope_scale
                )
            else:
                spikes, new["membrane"] = lif_step_surrogate(
                    state["membrane"], current, forward, self.surrogate, beta, threshold, resets_to_zero
                )
            fired = spikes
        if self.signed:
            new["net_count"] = net_count + tf.stop_gradient(spikes)
        slope: Any = self.surrogate  # called only if there is one
        new |= record.update(
            state, spikes, lambda: slope(potential - threshold), beta, threshold, resets_to_zero, self.synaptic_beta
        )
        if "keep" in state:
            spikes = spikes * state["keep"]
        if self.feeds_back:
            new["fed_back"] = spikes
        if "keep" not in state and dtype != "float32":
            spikes = fired  # a cast from booleans to bfloat16 costs half of one from float32
        return tf.cast(spikes, dtype), new

    def total(self, net: tf.Tensor, state: State, num_steps: tf.Tensor) -> tf.Tensor:
        """The spike counts of the window, with `d count / d net = slope`: see `keras_spiking_bp.gradients`."""
        count = spike_total(net, state["spike_count"], record.slope(self, state, num_steps))
        state["count"] = count
        return count * state["keep"] if "keep" in state else count

    def correction(self, state: State) -> tf.Tensor:
        """The leak correction of the derivative, from the recorded spikes; a surrogate needs none."""
        if "silence" not in state:
            return super().correction(state)
        return leak_correction(state["spike_count"], record.leaky_trace(state), parameters.now(self.beta))

    def activity(self, state: State, num_steps: tf.Tensor) -> dict[str, tf.Tensor]:
        return super().activity(state, num_steps) | {
            "spike_count": state.get("fired", state["spike_count"]),
            "leaky_trace": record.leaky_trace(state),
            "last_spike": record.last_spike(state, num_steps),
            "leak_correction": self.correction(state),
        }

    def get_config(self) -> dict[str, Any]:
        names = ("reset_mechanism", "dropout", "seed", "initial_membrane", "signed", "learn_beta", "learn_threshold")
        return {
            **super().get_config(),
            **{name: parameters.configured(getattr(self, name), first) for name, first in self._initial.items()},
            **{name: getattr(self, name) for name in names},
            "surrogate": keras.saving.serialize_keras_object(self.surrogate),
            "synaptic_beta": parameters.plain(self.synaptic_beta),
        }
