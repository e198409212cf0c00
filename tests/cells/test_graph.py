"""Cells joined as a graph: beside the residual cell, which is one of them, and beside stock Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from keras_spiking_bp.cells.graph import GraphCell

X = np.random.default_rng(0).integers(0, 2, (2, 12, 6, 6, 2)).astype("float32")


def conv(name, filters=4):
    return keras.layers.Conv2D(filters, 3, padding="same", name=name)


def lif(synapse, name, **kwargs):
    return ksbp.LIFCell(synapse, beta=0.9, name=name, **kwargs)


def block():
    """A residual block and a readout, as a graph."""
    return GraphCell([
        (lif(conv("c1"), "a"), "input"),
        (lif(conv("c2"), "b"), ["a"]),
        (conv("c3"), "b"),
        (keras.layers.Add(name="sum"), ["c3", "a"]),
        (lif(keras.layers.Identity(), "c"), "sum"),
        (keras.layers.Flatten(name="flat"), "c"),
        (ksbp.ReadoutCell(keras.layers.Dense(3), name="readout"), "flat"),
    ])  # fmt: skip


def residual():
    """The same with a `ResidualCell`."""
    block = ksbp.ResidualCell(lif(conv("c2"), "b"), lif(conv("c3"), "c"))
    readout = ksbp.ReadoutCell(keras.layers.Dense(3), name="readout")
    return ksbp.SequentialCell([lif(conv("c1"), "a"), block, keras.layers.Flatten(), readout])


def branches():
    """Side by side: spikes, of which one goes two ways, then currents; the last neurons fire."""
    return GraphCell([
        (lif(conv("c1"), "a"), "input"),
        (lif(conv("c2", 3), "b"), "input"),
        (keras.layers.Concatenate(name="spikes"), ["a", "b"]),
        (lif(conv("c3"), "c"), "spikes"),
        (keras.layers.Conv2D(4, 1, name="current"), "a"),
        (keras.layers.Concatenate(name="all"), ["c", "current"]),
        (lif(conv("c4"), "d"), "all"),
    ])  # fmt: skip


@pytest.mark.parametrize("gradient", ["accumulated", "bptt"])
def test_a_residual_block_is_a_graph(gradient):
    layers = [ksbp.SpikingRNN(make(), gradient=gradient) for make in (residual, block)]
    for layer in layers:
        layer.build(X.shape)
    outputs, gradients = [], []
    for to, of in zip(layers[1].weights, layers[0].weights, strict=True):
        to.assign(of)
    for layer in layers:
        with tf.GradientTape() as tape:
            outputs.append(layer(X))
            loss = tf.reduce_sum(outputs[-1] ** 2)
        gradients.append(tape.gradient(loss, layer.trainable_weights))
    assert np.abs(outputs[0]).max() > 0.1
    np.testing.assert_allclose(outputs[1], outputs[0], atol=1e-6)
    for ours, expected in zip(gradients[1], gradients[0], strict=True):
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())


def test_everything_about_the_block_is_that_of_the_residual_cell():
    """Operations, the ANN counterpart, the summary."""
    models = []
    for make in (residual, block):
        inputs = keras.Input(X.shape[1:])
        models.append(keras.Model(inputs, ksbp.SpikingRNN(make(), name="time")(inputs)))
    models[1].set_weights(models[0].get_weights())
    expected, found = (sorted(map(str, ksbp.analysis.operations(model, X, verbose=0).rows)) for model in models)
    assert found == expected
    images = X[:, 0]
    expected, found = (ksbp.ann_counterpart(model)(images) for model in models)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    lines = []
    ksbp.summary(models[1], lines.append)
    assert any(line.startswith("sum ") and "Add of 2" in line for line in lines)


def test_round_trips(tmp_path):
    inputs = keras.Input(X.shape[1:])
    model = keras.Model(inputs, ksbp.SpikingRNN(branches(), return_sequences=True)(inputs))
    expected = model(X).numpy()
    assert expected.any()
    model.save(tmp_path / "model.keras")
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    for other in (keras.saving.load_model(tmp_path / "model.keras"), clone):
        np.testing.assert_array_equal(other(X), expected)


def test_branches_by_hand():
    """The steps of the graph, layer by layer, with cells that run alone."""
    layer = ksbp.SpikingRNN(branches(), return_sequences=True)
    outputs = layer(X)
    a, b, _, c, current, _, d = layer.cell.layers

    def alone(cell, x):
        return ksbp.SpikingRNN(cell, return_sequences=True)(x)

    def each_step(of, x):
        return tf.reshape(of(tf.reshape(x, (-1, *x.shape[2:]))), (*x.shape[:2], 6, 6, -1))

    spikes = alone(a, X)
    middle = alone(c, tf.concat([spikes, alone(b, X)], -1))
    expected = alone(d, tf.concat([middle, each_step(current, spikes)], -1))
    assert expected.numpy().any()
    np.testing.assert_array_equal(outputs, expected)


class HalfSum(keras.layers.Add):
    def _merge_function(self, inputs):
        return 0.5 * sum(inputs)


def add(kind=keras.layers.Add):
    return kind(name="sum")


A = lif(conv("c"), "a")
READOUT = ksbp.ReadoutCell(conv("c"), name="out")


@pytest.mark.parametrize(("call", "error"), [
    (lambda: GraphCell([("a", "input")]), TypeError),
    (lambda: GraphCell([]), ValueError),
    (lambda: GraphCell([(conv("c"), "input")]), ValueError),
    (lambda: GraphCell([(A, "b")]), ValueError),
    (lambda: GraphCell([(A, [])]), ValueError),
    (lambda: GraphCell([(lif(conv("c"), "input"), "input")]), ValueError),
    (lambda: GraphCell([(A, ["input", "input"])]), ValueError),
    (lambda: GraphCell([(add(), "input")]), ValueError),
    (lambda: GraphCell([(READOUT, "input"), (A, "out")]), ValueError),
    (lambda: GraphCell([(A, "input"), (lif(conv("d"), "b"), "input")]), ValueError),
    (lambda: GraphCell([(add(HalfSum), ["input", "input"])]), ValueError),
])  # fmt: skip
def test_bad_graphs(call, error):
    with pytest.raises(error, match="nodes"):
        call()
