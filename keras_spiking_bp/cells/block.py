"""A block of time steps: layers see all of its steps at once, and only neurons go through them one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_spiking_bp.utils.broadcasting import per_sample, per_step

#: Up to so many steps, neurons go through a block without a loop of TensorFlow.
_UNROLLED = 16

#: The state of one layer of neurons: what it carries, and any requested record (`NeuronCell.initial_state`).
State = dict[str, tf.Tensor]
#: From the input of a step and the state before it to its output and the state after it.
Step = Callable[[tf.Tensor, State], tuple[tf.Tensor, State]]
#: Entries of a state that a step does not change: what comes from later steps (`slot`), a dropout mask.
_SHARED = ("slot", "keep")


@dataclasses.dataclass(frozen=True)
class Block:
    """The time steps of a block, which are folded into the batch: (C * B, ...), all samples of a step together.

    Attributes:
        num_steps: C, a number, or a tensor where it is not known in the graph.
        mask: (B, C), False for steps to skip; None for none.
        repeated: whether a value is the same at all steps, and has the shape (B, ...).
        statistics: of batch normalisation that learns; None for the moving ones.
        known: outputs of layers that were computed before, by the id of the layer.
    """

    num_steps: int | tf.Tensor = 1
    mask: tf.Tensor | None = None
    repeated: bool = False
    statistics: Any = None
    known: dict[int, tf.Tensor] = dataclasses.field(default_factory=dict)

    def for_value(self, repeated: bool) -> Block:
        """The same steps, for a value that is repeated or not."""
        return self if repeated == self.repeated else dataclasses.replace(self, repeated=repeated)

    def without_statistics(self) -> Block:
        """The same steps; batch normalisation by what stands in its variables."""
        return dataclasses.replace(self, statistics=None)

    def with_known(self, layer: Any, outputs: tf.Tensor) -> Block:
        """The same steps, at which these are the outputs of a layer."""
        return dataclasses.replace(self, known={**self.known, id(layer): outputs})

    @property
    def is_one(self) -> bool:
        """Whether it is a single step, with the batch as it is."""
        return isinstance(self.num_steps, int) and self.num_steps == 1

    def fold(self, sequences: tf.Tensor) -> tf.Tensor:
        """From (B, C, ...) to (C * B, ...)."""
        if self.is_one:
            return tf.squeeze(sequences, 1)
        by_step = tf.transpose(sequences, (1, 0, *range(2, sequences.shape.rank)))
        known = sequences.shape[0] is not None and isinstance(self.num_steps, int)
        return tf.reshape(by_step, (sequences.shape[0] * self.num_steps if known else -1, *sequences.shape[2:]))

    def by_step(self, values: tf.Tensor) -> tf.Tensor:
        """From (C * B, ...) to (C, B, ...)."""
        known = values.shape[0] is not None and isinstance(self.num_steps, int)
        samples = values.shape[0] // self.num_steps if known else -1
        return tf.reshape(values, [self.num_steps, samples, *values.shape[1:]])

    def repeat(self, values: tf.Tensor) -> tf.Tensor:
        """Values of one step, for all steps: (B, ...) to (C * B, ...)."""
        if self.is_one:
            return values
        return tf.tile(values, [self.num_steps, *[1] * (values.shape.rank - 1)])

    def sum(self, values: tf.Tensor) -> tf.Tensor:
        """Over the steps, in float32, (B, ...)."""
        values = tf.cast(values, tf.float32)
        if self.repeated:
            return values * tf.cast(self.num_steps, tf.float32)
        return values if self.is_one else tf.reduce_sum(self.by_step(values), 0)

    def masked(self, values: tf.Tensor) -> tf.Tensor:
        """Zero at the masked steps."""
        if self.mask is None:
            return values
        return tf.where(per_sample(tf.reshape(tf.transpose(self.mask), [-1]), values), values, tf.zeros_like(values))

    def mean(self, values: tf.Tensor) -> tf.Tensor:
        """Over the unmasked steps, or over all for a sample without one, (B, ...)."""
        if self.repeated or self.is_one:
            return values
        values = self.by_step(tf.cast(values, tf.float32))
        if self.mask is None:
            return tf.reduce_mean(values, 0)
        weights = tf.cast(tf.transpose(self.mask | ~tf.reduce_any(self.mask, 1, keepdims=True)), tf.float32)
        weights /= tf.reduce_sum(weights, 0)
        return tf.reduce_sum(per_step(weights, values) * values, 0)

    def run(self, step: Step, values: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """Goes through the steps: the outputs (C * B, ...), and the state after the last one.

        A masked step leaves the state as it is, and its spikes are zero.
        """
        if self.is_one:
            return self._one(step, values, state, None if self.mask is None else self.mask[:, 0])
        if not isinstance(self.num_steps, int) or self.num_steps > _UNROLLED:
            return self._loop(step, values, state)
        outputs = []
        now = [values] * self.num_steps if self.repeated else tf.split(values, self.num_steps)
        exists = [None] * self.num_steps if self.mask is None else tf.unstack(self.mask, self.num_steps, axis=1)
        for t in range(self.num_steps):
            output, state = self._one(step, now[t], state, exists[t])
            outputs.append(output)
        return tf.concat(outputs, 0), state

    def _loop(self, step: Step, values: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """The first step, whose output shows the shape and the dtype, and a loop over the others."""
        masks = None if self.mask is None else tf.transpose(self.mask)
        inputs, shape = None, values.shape
        if not self.repeated:
            by_step = self.by_step(values)
            inputs, shape = tf.TensorArray(values.dtype, self.num_steps).unstack(by_step), by_step.shape[1:]

        def one(t: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
            now = values if inputs is None else tf.ensure_shape(inputs.read(t), shape)
            return self._one(step, now, state, None if masks is None else masks[t])

        def body(t, state, outputs):
            output, state = one(t, state)
            return t + 1, state, outputs.write(t, output)

        first, state = one(tf.constant(0), state)
        outputs = tf.TensorArray(first.dtype, self.num_steps, element_shape=first.shape).write(0, first)
        _, state, outputs = tf.while_loop(
            lambda t, *_: t < self.num_steps, body, (tf.constant(1), state, outputs), maximum_iterations=self.num_steps
        )
        return tf.reshape(outputs.stack(), [-1, *first.shape[1:]]), state

    @staticmethod
    def _one(step: Step, values: tf.Tensor, state: State, exists: tf.Tensor | None) -> tuple[tf.Tensor, State]:
        output, new = step(values, state)
        if exists is None:
            return output, new
        held = {name: new[name] if name in _SHARED else where(exists, new[name], state[name]) for name in new}
        return where(exists, output, tf.zeros_like(output)), held


def where(exists: tf.Tensor, new: tf.Tensor, old: tf.Tensor) -> tf.Tensor:
    """The new value for samples that have this step, the old one for others."""
    return tf.where(per_sample(exists, new), new, old)


def with_a_step(blocks: list[Block]) -> list[Block]:
    """The same blocks; a sample whose steps are all masked has the first one, of which its input is zero."""
    if blocks[0].mask is None:
        return blocks
    none = ~tf.reduce_any(tf.concat([block.mask for block in blocks], 1), 1, keepdims=True)
    first = tf.concat([blocks[0].mask[:, :1] | none, blocks[0].mask[:, 1:]], 1)
    return [dataclasses.replace(blocks[0], mask=first), *blocks[1:]]


#: A single step, with the batch as it is.
ONE_STEP = Block()
