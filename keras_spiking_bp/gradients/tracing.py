"""When a derivative is computed: whether it is wanted, only on demand, and not before what it reads."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

# whether a gradient tape is recording, and how to pause it: they have no public names
from tensorflow.python.eager.record import could_possibly_record
from tensorflow.python.eager.record import stop_recording as not_recorded  # noqa: F401


def gradient_wanted(training: bool | None) -> bool:
    """Whether the current computation needs a derivative: in training, under a gradient tape, or in a stateless call.

    A function traced without a tape may be differentiated later: see `derived_on_demand`. Not in a stateless call,
    whose weights are tensors that only exist within it.
    """
    return bool(training) or could_possibly_record() or _is_stateless()


def _is_stateless() -> bool:
    with keras.StatelessScope(initialize_variables=False) as scope:
        return scope.original_scope is not None


def derived_on_demand(
    plain: Callable[[tf.Tensor], tuple[tf.Tensor, list[tf.Tensor]]],
    with_derivative: Callable[[tf.Tensor], tf.Tensor],
    sequences: tf.Tensor,
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """The computation in a graph that may be differentiated later, or never.

    TensorFlow traces a function once, and does not retrace it for a later gradient tape. Records for a derivative would
    slow down inference, since a TensorFlow loop keeps everything it carries.

    Forward: `plain(sequences)`: an output, and states, which are constants. Backward: `with_derivative(sequences)`, the
    same output with its derivative, is computed only then, with the variables as they are then, and its gradient goes
    to `sequences` and to the variables.
    """

    @tf.custom_gradient
    def on_demand(sequences):
        output, states = plain(sequences)

        def grad(*upstream, variables=()):
            with tf.GradientTape() as tape:
                tape.watch(sequences)
                again = with_derivative(sequences)
            wanted = [sequences, *variables]
            to_sequences, *to_variables = tape.gradient(again, wanted, upstream[0])
            return (to_sequences, to_variables) if variables else to_sequences

        return (output, *states), grad

    output, *states = on_demand(sequences)
    return output, [tf.stop_gradient(state) for state in states]


def after_reads(compute: Callable[[], tf.Tensor]) -> tf.Tensor:
    """Passes the gradient into a pass over totals only after all weights it needs have been read.

    Forward: `compute()`. Backward: the gradient, with control edges from each read of a variable in the pass.

    The values of the pass are unused, so TensorFlow prunes its forward part, and only the backward pass reads the
    weights. Its graph optimizer (Grappler's `dependency_optimization`) then loses the edges from these reads to the
    weight updates, and occasionally a gradient would see an already updated weight (docs/reports/lost_control_edge.py).
    """
    if tf.executing_eagerly():
        return compute()
    graph = tf.compat.v1.get_default_graph()
    before = len(graph.get_operations())
    output = compute()
    reads = [op.outputs[0] for op in graph.get_operations()[before:] if op.type == "ReadVariableOp"]

    @tf.custom_gradient
    def same(output):
        def grad(upstream):
            # the backward pass may be a separate graph, which control edges from here do not reach, but tensors do
            with tf.control_dependencies([tf.identity(read) for read in reads]):
                return tf.identity(upstream)

        return tf.identity(output), grad

    return same(output)
