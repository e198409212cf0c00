"""A read of a variable loses its order to the variable's update: Grappler's dependency optimizer. TensorFlow only.

Automatic control dependencies order the read before the update. After Grappler no path leads from the one to the other,
and with several inter-op threads a gradient occasionally uses the updated value. It takes a value that is read for the
backward pass alone, and all gradients joined by one `IdentityN`, as in the optimizers of Keras 3.

`DependencyOptimizer` removes the control edge, since a longer path implies it (`TransitiveReduction`): from the read to
a gradient, through the `IdentityN`, to the update. Then it bypasses the `IdentityN`, output by output, and that path is
gone too. A control edge from the read to the gradient that enters the backward pass keeps the order.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import tensorflow as tf
from tensorflow.python.eager import context  # for the optimised graph only

first = tf.Variable(tf.random.stateless_normal((6, 12), [0, 1]), name="first")
second = tf.Variable(tf.random.stateless_normal((12, 3), [0, 2]), name="second")


@tf.custom_gradient
def with_value(net, value):
    """`value`, with the derivative of `net`: the forward pass of `net` is pruned, its backward pass is kept."""
    return tf.identity(value), lambda upstream: (upstream, None)


@tf.function
def step(x, y):
    """One step of a training: read, differentiate, update."""
    with tf.GradientTape() as tape:
        hidden = tf.matmul(x, first)
        loss = tf.reduce_mean((with_value(tf.matmul(hidden, second), y + 1.0) - y) ** 2)
    gradients = tape.gradient(loss, [first, second])
    gradients = tf.raw_ops.IdentityN(input=gradients)  # as an all-reduce over one replica leaves behind
    for variable, gradient in zip((first, second), gradients, strict=True):
        variable.assign_sub(0.1 * gradient)
    return loss


def ordered(nodes, read, update):
    """Whether a path leads from the node `read` to the node `update`."""
    todo, seen = [update], set()
    while todo:
        name = todo.pop()
        if name == read:
            return True
        if name in nodes and name not in seen:
            seen.add(name)
            todo += [i.lstrip("^").split(":")[0] for i in nodes[name].input]
    return False


def report(graph, when):
    """Prints for each update whether the reads of its variable are ordered before it."""
    nodes = {node.name: node for node in graph.node}
    for update in nodes.values():
        if update.op == "AssignSubVariableOp":
            for read in nodes.values():
                if read.op == "ReadVariableOp" and read.input[0] == update.input[0]:
                    state = "ordered" if ordered(nodes, read.name, update.name) else "NOT ORDERED"
                    print(f"{when}: {read.name} before {update.name}: {state}")


print("TensorFlow", tf.__version__)
context.context().enable_run_metadata()
step(tf.ones((4, 6)), tf.ones((4, 3)))
for graphs in context.context().export_run_metadata().function_graphs:
    report(graphs.pre_optimization_graph, "before Grappler")
    report(graphs.post_optimization_graph, "after Grappler ")
