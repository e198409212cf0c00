"""Blocks of time steps: their size changes no spike, and outputs, states and gradients by rounding alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from tests.gradients.test_reads_before_updates import optimized_graphs
from tests.slow import slow

STEPS = 5
X = (np.random.default_rng(0).random((4, STEPS, 6, 6, 2)) < 0.4).astype("float32")
MASK = np.arange(STEPS) < np.array([5, 4, 2, 0])[:, None]
NEURONS = {
    "paper": {},
    "subtract": {"reset_mechanism": "subtract", "surrogate": "triangle", "initial_membrane": 0.5},
    "signed": {"reset_mechanism": "subtract", "surrogate": "bounded", "signed": True},
    "synaptic": {"synaptic_beta": 0.5, "surrogate": "atan"},
    "bounded": {"surrogate": "bounded", "reset_mechanism": "subtract"},
}


def network(gradient, neuron, recurrent=False, **arguments):
    keras.utils.set_random_seed(1)

    def conv(units, name):
        layer = keras.layers.Conv2D(units, 3, padding="same", bias_initializer="normal")
        return ksbp.LIFCell(layer, beta=0.9, threshold=0.3, name=name, **neuron)

    hidden = ksbp.LIFCell(keras.layers.Dense(8), threshold=0.3, name="hidden", **neuron)
    cells = [
        conv(3, "conv"),
        ksbp.MaxPoolingCell(keras.layers.MaxPooling2D(2), of="counts"),
        ksbp.ResidualCell(conv(3, "body"), conv(3, "junction")),
        ksbp.PoolingCell(keras.layers.AveragePooling2D(3), threshold=0.25),
        keras.layers.Flatten(),
        ksbp.RecurrentCell(hidden, keras.layers.Dense(8)) if recurrent else hidden,
        ksbp.ReadoutCell(keras.layers.Dense(3)),
    ]
    return ksbp.SpikingRNN(ksbp.SequentialCell(cells), gradient, return_state=True, **arguments)


def results(layer, x=X, mask=None, as_graph=False):
    def compute(x):
        with tf.GradientTape() as tape:
            outputs, *states = layer(x, mask=mask, training=True)
            loss = tf.reduce_sum(tf.sin(outputs))
        return outputs, states, tape.gradient(loss, layer.trainable_weights)

    layer.build(x.shape)
    return tf.nest.flatten((tf.function(compute) if as_graph else compute)(tf.constant(x)))


def assert_same(one, other, tolerance=3e-6):
    for a, b in zip(one, other, strict=True):
        scale = max(np.abs(a).max(), 1e-6)
        np.testing.assert_allclose(b, a, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize(("gradient", "neuron", "recurrent", "masked"), [
    ("bptt", "subtract", True, True), *map(slow, [
        ("accumulated", "paper", False, True), ("accumulated", "bounded", False, False),
        ("accumulated", "synaptic", False, True), ("accumulated", "subtract", False, False),
        ("bptt", "paper", False, False), ("bptt", "synaptic", True, True),
    ]),
])  # fmt: skip
def test_their_size_changes_nothing(gradient, neuron, recurrent, masked):
    def of(block_size, as_graph=False):
        layer = network(gradient, NEURONS[neuron], recurrent, return_sequences=masked, block_size=block_size)
        return results(layer, mask=MASK if masked else None, as_graph=as_graph)

    expected = of(1)
    assert np.ptp(expected[0]) > 0.1 and np.abs(expected[-4]).max() > 0
    assert_same(expected, of(STEPS))
    assert_same(expected, of(2, as_graph=True))


def test_masked_spikes_are_masked_whatever_their_dtype():
    layer = network("accumulated", NEURONS["paper"])
    assert_same(results(layer, X, MASK), results(layer, X.astype("int8"), MASK))


def test_with_an_unknown_number_of_steps():
    """The last block is filled with steps that are masked; more than 16 steps go through neurons in a loop."""
    x = np.tile(X, (1, 6, 1, 1, 1))
    found = []
    for size in (1, 4, 20):
        layer = network("accumulated", NEURONS["subtract"], return_sequences=True, block_size=size)
        layer.build(x.shape)
        traced = tf.function(layer, input_signature=[tf.TensorSpec((None, None, *x.shape[2:]))])
        found.append(tf.nest.flatten(layer(x) if size == 1 else traced(x)))
    assert found[0][0].shape == (4, 30, 3)
    assert_same(found[0], found[1])
    assert_same(found[0], found[2])


@pytest.mark.parametrize("end", [slice(None), slice(-1)], ids=["potentials", "spikes"])
def test_xla_and_a_constant_input(end):
    images = np.random.default_rng(1).uniform(size=(4, 6, 6, 2)).astype("float32")
    layer = network("accumulated", NEURONS["subtract"])
    layer.cell.cells = layer.cell.cells[end]
    sequences = ksbp.ConstantEncoder(STEPS)(images)
    expected = layer(tf.identity(sequences), training=True)  # the identity is not known to be constant
    assert_same(expected, layer(sequences, training=True))
    if end != slice(None):
        return
    layer.block_size = 3
    compiled = tf.function(
        lambda x: layer(ksbp.ConstantEncoder(STEPS, largest=None)(x), training=True), jit_compile=True
    )
    assert_same(expected, compiled(images))


def test_the_first_layer_sees_a_constant_input_once():
    layer = network("accumulated", NEURONS["paper"])
    layer.block_size = 4
    call = tf.function(lambda x: layer(ksbp.ConstantEncoder(8)(x)))
    graph = call.get_concrete_function(tf.TensorSpec((4, 6, 6, 2))).graph
    assert [op.type for op in graph.get_operations()].count("Conv2D") == 1  # the others are in the loop


def test_normalised_by_the_batch_as_by_its_statistics():
    """The loop of a training step is that of inference with the statistics of its batch."""
    cells = [
        ksbp.LIFCell(keras.Sequential([keras.layers.Conv2D(3, 3), keras.layers.BatchNormalization()]), **kwargs)
        for kwargs in (NEURONS["bounded"], NEURONS["bounded"])
    ]
    layer = ksbp.SpikingRNN(ksbp.SequentialCell(cells), return_sequences=True)
    layer.build(X.shape)
    for mask in (None, MASK):
        trained = layer(X, mask=mask, training=True)
        assert 0.02 < np.mean(trained) < 0.9
        ksbp.rnn.derivative.take_statistics(layer, tf.constant(X), mask)
        np.testing.assert_array_equal(trained, layer(X, mask=mask))


def test_the_gradient_goes_through_the_statistics_of_bptt():
    """That of a stock layer on the same spikes: a readout without leak is linear in the mean current."""
    norm = keras.layers.BatchNormalization(momentum=0.5)
    synapse = keras.Sequential([keras.layers.Dense(3, use_bias=False), norm])
    layer = ksbp.SpikingRNN(ksbp.ReadoutCell(synapse, beta=1.0), "bptt")
    x = X.reshape(4, STEPS, -1)
    layer.build(x.shape)
    start = layer.get_weights()
    found = []
    for call in (lambda: layer(x, training=True), lambda: synapse(x.mean(1), training=True)):
        layer.set_weights(start)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(call() ** 3)
        found.append([*tape.gradient(loss, synapse.trainable_weights), *layer.get_weights()])
    assert_same(*found, tolerance=2e-5)


def test_the_synapses_of_a_block_are_one_operation():
    """The operations of a training step grow with the steps of a block by those of its neurons alone."""

    def synapses(steps):
        conv = keras.layers.Conv2D(3, 3, name=f"of_{steps}_steps")
        cell = ksbp.SequentialCell([
            ksbp.LIFCell(keras.Sequential([conv, keras.layers.BatchNormalization()])),
            keras.layers.Flatten(),
            ksbp.ReadoutCell(keras.layers.Dense(3)),
        ])  # fmt: skip
        layer = ksbp.SpikingRNN(cell, block_size=steps)
        layer.build((4, steps, 6, 6, 2))

        def step(x):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(layer(x, training=True))
            return tape.gradient(loss, layer.trainable_weights)

        call = tf.function(step)
        graph = call.get_concrete_function(tf.TensorSpec((4, steps, 6, 6, 2))).graph
        types = [op.type for op in graph.get_operations()]
        assert "While" not in types and "StatelessWhile" not in types
        x = np.ones((4, steps, 6, 6, 2), "float32")
        graphs = optimized_graphs(lambda: call(x))  # others of this process, too
        in_use = [node.op for optimized in graphs for node in optimized.node if conv.name in node.name]
        assert sum("Conv2D" in op and "Backprop" not in op for op in in_use) == 1  # none for the sum over time
        return [name for name in types if "Conv2D" in name or name == "MatMul" or "BatchNorm" in name]

    assert synapses(4) == synapses(16)
