"""A layer of neurons with its synapse: what all kinds share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.cells.base import CellOfParts, Operands
from keras_spiking_bp.cells.batch_norm import learning_normalizations
from keras_spiking_bp.cells.block import ONE_STEP, Block, State
from keras_spiking_bp.cells.synapse import (
    build_synapse,
    by_the_batch,
    check_synapse,
    current_of,
    output_of,
    sum_of_currents,
    total_of,
)
from keras_spiking_bp.utils.broadcasting import per_sample
from keras_spiking_bp.utils.neuron_parameters import is_one


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
    def has_stock_current(self) -> bool:
        """Whether its current is that of the synapse: a class of the user's may compute another one."""
        return type(self).current is NeuronCell.current and type(self).run is NeuronCell.run

    @property
    def description(self) -> str:
        """What `summary` prints of the neurons."""
        return type(self).__name__

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

    def affine_parts(self) -> list[keras.layers.Layer]:
        return [self.synapse]

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

    def run(
        self,
        inputs: tf.Tensor,
        states: list[State],
        block: Block = ONE_STEP,
        currents: Sequence[tf.Tensor] = (),
        back: Sequence[keras.layers.Layer] = (),
    ) -> tuple[tf.Tensor, list[State]]:
        """The synapse for all steps of a block, then the neurons step by step.

        `currents` add to that of the synapse, and those of the layers `back`, from the spikes of the previous step.
        """
        current = self.current(inputs, block)
        for other in currents:
            current = sum_of_currents(tf.cast(current, tf.float32), tf.cast(other, tf.float32))
        at_once = None if back else self.fire_at_once(current, states[0], block)
        if at_once is not None:
            return at_once[0], [at_once[1]]

        def step(current: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
            for layer in back:
                current = sum_of_currents(tf.cast(current, tf.float32), current_of(layer, state["fed_back"]))
            return self.fire(current, state)

        outputs, state = block.run(step, current, states[0])
        return outputs, [state]

    def run_with_totals(
        self, inputs: Operands, totals: list[tf.Tensor], states: list[State], blocks: list[Block], num_steps: tf.Tensor
    ) -> tuple[list[tf.Tensor], list[State], tf.Tensor]:
        """As in `Cell`: the sum over time first, whose batch statistics the steps have, too."""
        if not (self.affine_parts() and learning_normalizations(self.synapse)):
            return super().run_with_totals(inputs, totals, states, blocks, num_steps)
        statistics, plain = blocks[0].statistics, [block.without_statistics() for block in blocks]
        if self.has_stock_current:
            firsts = [first for first, *_ in inputs]
            currents, net = by_the_batch(self.synapse, firsts, totals[0], blocks, num_steps)
            plain = [block.with_known(self.synapse, x) for block, x in zip(plain, currents, strict=True)]
        else:  # the current may be of other inputs
            with statistics.taken(self.synapse):
                net = total_of(self.synapse, totals[0], num_steps, training=True)
        with statistics.in_place(self.synapse):
            outputs, after = self.run_blocks(inputs, states, plain)
        return outputs, after, self.total(sum(totals[1:], net), after[0], num_steps)

    def accumulate(
        self,
        total_inputs: tf.Tensor,
        states: list[State],
        num_steps: tf.Tensor,
        training: bool = False,
        currents: Sequence[tf.Tensor] = (),
    ) -> tf.Tensor:
        """The chain rule on sums over time; `currents`, summed over it, add to that of the synapse."""
        net = sum(currents, total_of(self.synapse, total_inputs, num_steps, training))
        return self.total(net, states[0], num_steps)

    def total(self, net: tf.Tensor, state: State, num_steps: tf.Tensor) -> tf.Tensor:
        """The neurons without their synapse, over the window: from the current summed over time to their output."""
        raise NotImplementedError

    def current(self, inputs: tf.Tensor, block: Block) -> tf.Tensor:
        """The output of the synapse, for all steps of a block."""
        return output_of(self.synapse, inputs, block)

    def fire_at_once(self, current: tf.Tensor, state: State, block: Block) -> tuple[tf.Tensor, State] | None:
        """All steps of a block in one operation, where there is one."""
        return None

    def fire(self, current: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """One time step of the neurons: from their current (B, ...) to their output, and the new state."""
        raise NotImplementedError

    def blank_record(self, carried: State, gradient: str | None, recorded: bool) -> State:
        """The blank record before the first step; arguments as in `initial_state`."""
        return {}

    def correction(self, state: State) -> tf.Tensor:
        """The leak correction of the derivative, for the `slot`; a scalar where no spike needs one."""
        return tf.ones(())

    def penalty(self, state: State, num_steps: tf.Tensor) -> tf.Tensor | None:
        """The `activity_regularizer` of the firing rates, per sample."""
        if self.activity_regularizer is None:
            return None
        rates = state["count"] / per_sample(num_steps, state["count"])
        penalty = self.activity_regularizer(rates)
        return tf.math.divide_no_nan(penalty, tf.cast(tf.shape(rates)[0], penalty.dtype))

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


def _filled(shape: tuple, value: Any) -> tf.Tensor:
    return tf.fill(shape, value) if isinstance(value, float) else tf.zeros(shape) + value


def integrate(
    membrane: tf.Tensor,
    current: tf.Tensor,
    beta: Any,
    threshold: Any,
    resets_to_zero: bool,
    net_count: tf.Tensor | None = None,
    for_training: bool = True,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """One step of LIF neurons: the potential before the reset, which of them fired (boolean, or signed), the same as
    spikes (float32), the potential of the next step. `net_count` is that of signed neurons.
    """
    potential = membrane + current
    fired = potential > threshold
    spikes = tf.cast(fired, tf.float32)
    if net_count is not None:
        fired = spikes = spikes - tf.cast((potential < 0.0) & (net_count > 0.0), tf.float32)
    if not resets_to_zero:
        membrane = potential - threshold * spikes
    elif for_training:  # potential * (1 - spikes ** 2) in one pass over memory; device formats lack this op
        membrane = tf.raw_ops.TanhGrad(y=spikes, dy=potential)
    else:  # a factor computed from the spikes: a select with a scalar costs twice as much
        return potential, fired, spikes, potential * (beta - beta * spikes)
    return potential, fired, spikes, membrane if is_one(beta) else beta * membrane
