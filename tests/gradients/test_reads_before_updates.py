"""Each gradient sees the weights as they were before the update (docs/reports/lost_control_edge.py).

The order is looked for in the graph that TensorFlow runs, since a race shows itself in few trainings of a hundred only.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

import keras_spiking_bp as ksbp

RNG = np.random.default_rng(0)
SPIKES = (RNG.uniform(size=(8, 10, 6)) < 0.4).astype("float32")
LABELS = np.arange(8) % 3


def network(gradient, hidden=3, bias=False, units=12):
    def dense(units, seed):
        start = keras.initializers.RandomNormal(stddev=0.6, seed=seed)
        return keras.layers.Dense(units, use_bias=bias, kernel_initializer=start, name=f"ordered_{seed}")

    cells = [ksbp.LIFCell(dense(units, i), beta=0.9) for i in range(hidden)]
    cell = ksbp.SequentialCell([*cells, ksbp.ReadoutCell(dense(3, 99), beta=0.9)])
    return keras.Sequential([keras.Input((10, 6)), ksbp.SpikingRNN(cell, gradient=gradient)])


def optimized_graphs(function):
    """The graphs of all functions that `function` runs, after TensorFlow's optimisation."""
    context.context().enable_run_metadata()
    try:
        function()
        return [g.post_optimization_graph for g in context.context().export_run_metadata().function_graphs]
    finally:
        context.context().disable_run_metadata()


def unordered(graph):
    """Pairs (read, update) of a variable with no path from one to the other; and how many pairs there are."""
    nodes = {node.name: node for node in graph.node}
    inputs = {name: [i.lstrip("^").split(":")[0] for i in node.input] for name, node in nodes.items()}

    def before(first, second):
        todo, seen = [second], set()
        while todo:
            name = todo.pop()
            if name == first:
                return True
            if name in nodes and name not in seen:
                seen.add(name)
                todo += inputs[name]
        return False

    updates = [name for name, node in nodes.items() if node.op.startswith(("Assign", "ResourceApply"))]
    reads = [name for name, node in nodes.items() if node.op == "ReadVariableOp"]
    pairs = [(r, u) for u in updates for r in reads if inputs[r][0] == inputs[u][0]]
    return [(r, u) for r, u in pairs if not before(r, u) and not before(u, r)], len(pairs)


def assert_ordered(function):
    graphs = optimized_graphs(function)  # others of this process, too
    found = [unordered(graph) for graph in graphs if any("ordered_" in node.name for node in graph.node)]
    assert sum(pairs for _, pairs in found) >= 3  # one a layer whose weights pass the error on
    assert [lost for lost, _ in found if lost] == []


def linear_loss(_, outputs):
    """Its gradient does not depend on the outputs."""
    return tf.reduce_sum(outputs, -1)


@pytest.mark.parametrize("gradient", ["accumulated", "bptt"])
def test_fit(gradient):
    model = network(gradient)
    with tf.GradientTape() as tape:
        value = tf.reduce_mean(linear_loss(LABELS, model(SPIKES, training=True)))
    gradients = tape.gradient(value, model.trainable_variables)
    expected = [w - 0.1 * g for w, g in zip(model.trainable_variables, gradients, strict=True)]
    model.compile(keras.optimizers.SGD(0.1), linear_loss)
    assert_ordered(lambda: model.fit(SPIKES, LABELS, verbose=0))  # one batch
    for weight, gradient, after in zip(model.trainable_variables, gradients, expected, strict=True):
        assert np.abs(gradient).max() > 1e-4, weight.path
        np.testing.assert_allclose(weight, after, rtol=1e-5, atol=1e-6, err_msg=weight.path)


def test_train_on_batch_with_biases():
    model = network("accumulated", bias=True)
    model.compile(keras.optimizers.Adam(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert_ordered(lambda: model.train_on_batch(SPIKES, LABELS))


@pytest.mark.parametrize("traced_inside", [True, False])
def test_custom_loop(traced_inside):
    model = network("accumulated")
    forward = model if traced_inside else tf.function(model)  # a graph of its own, and its backward pass another
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = loss_of(y, forward(x, training=True))
        optimizer.apply(tape.gradient(loss, model.trainable_variables))

    assert_ordered(lambda: step(tf.constant(SPIKES), tf.constant(LABELS)))


@pytest.mark.slow
@pytest.mark.parametrize("steps_per_execution", [1, 2])
def test_identical_trainings_are_identical(steps_per_execution):
    model = network("accumulated", units=20)
    start = model.get_weights()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, steps_per_execution=steps_per_execution)
    results = set()
    for _ in range(500):
        model.set_weights(start)
        model.fit(SPIKES, LABELS, batch_size=4, shuffle=False, verbose=0)
        results.add(b"".join(weights.tobytes() for weights in model.get_weights()))
    assert len(results) == 1
