"""Max pooling of spike trains: counts are the maximum of the counts, and gradients those of a stock layer on counts."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp


def spikes(seed=0, steps=12, shape=(5, 6, 2)):
    rng = np.random.default_rng(seed)
    rate = rng.uniform(0, 1, shape)
    return (rng.uniform(size=(3, steps, *shape)) < rate).astype("float32")


@pytest.mark.parametrize("unroll", [False, True])
def test_counts_are_the_maximum_of_the_counts_at_every_step(unroll):
    x = spikes()
    pooling = keras.layers.MaxPooling2D(3, strides=2)
    layer = ksbp.SpikingRNN(ksbp.MaxPoolingCell(pooling), return_sequences=True, unroll=unroll)
    out = layer(x).numpy()
    assert set(np.unique(out)) == {0.0, 1.0}
    counts, seen = out.cumsum(1), x.cumsum(1)
    for t in range(12):
        np.testing.assert_array_equal(counts[:, t], pooling(seen[:, t]))


@pytest.mark.parametrize("gradient", ["accumulated", "bptt"])
def test_gradient_is_that_of_max_pooling_on_counts(gradient):
    x = tf.constant(spikes())
    layer = ksbp.SpikingRNN(ksbp.MaxPoolingCell(keras.layers.MaxPooling2D(2)), gradient=gradient)
    weight = np.random.default_rng(1).normal(size=(3, 2, 3, 2)).astype("float32")
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(layer(x, training=True) * weight)
    found = tape.gradient(loss, x)
    counts = tf.reduce_sum(x, 1)
    with tf.GradientTape() as tape:
        tape.watch(counts)
        loss = tf.reduce_sum(keras.layers.MaxPooling2D(2)(counts) / 12 * weight)
    expected = tape.gradient(loss, counts)
    if gradient == "accumulated":  # the same for each step
        np.testing.assert_allclose(found, np.repeat(expected[:, None], 12, 1), rtol=1e-6)
    else:  # the first step counts towards all later ones; ties before the end are broken otherwise
        np.testing.assert_allclose(found[:, -1], expected, rtol=1e-6)


def test_carried_state_continues_the_counts():
    x = spikes()
    make = lambda: ksbp.MaxPoolingCell(keras.layers.MaxPooling2D(2))  # noqa: E731
    whole = ksbp.SpikingRNN(make(), return_sequences=True)(x).numpy()
    layer = ksbp.SpikingRNN(make(), return_sequences=True, return_state=True)
    first, *state = layer(x[:, :5])
    second, *_ = layer(x[:, 5:], initial_state=state)
    np.testing.assert_array_equal(np.concatenate([first, second], 1), whole)
    inputs = keras.Input((None, 5, 6, 2))
    assert [tuple(s.shape) for s in layer(inputs)][1] == (None, 5, 6, 2)


def test_other_layers_are_refused():
    with pytest.raises(TypeError, match="`synapse` must be a max pooling layer.*AveragePooling2D"):
        ksbp.MaxPoolingCell(keras.layers.AveragePooling2D(2))


def test_low_precision_counts_on():
    """bfloat16 has no 257: the counts must not be in the precision of the layer."""
    pooling = keras.layers.MaxPooling2D(2, dtype="mixed_bfloat16")
    layer = ksbp.SpikingRNN(ksbp.MaxPoolingCell(pooling), return_sequences=True)
    assert (layer(np.ones((1, 300, 2, 2, 1), "float32")).numpy() == 1).all()
