"""Max pooling of spike trains, of counts and of spikes: gradients are those of a stock layer on counts."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp


def spikes(seed=0, steps=12, shape=(5, 6, 2)):
    rng = np.random.default_rng(seed)
    rate = rng.uniform(0, 1, shape)
    return (rng.uniform(size=(3, steps, *shape)) < rate).astype("float32")


@pytest.mark.parametrize("of", ["counts", "spikes"])
@pytest.mark.parametrize("unroll", [False, True])
def test_spikes_of_the_maximum_at_every_step(unroll, of):
    """In one window and in two."""
    x, pooling = spikes(), keras.layers.MaxPooling2D(3, strides=2)
    cell = ksbp.MaxPoolingCell(pooling, of)
    layer = ksbp.SpikingRNN(cell, return_sequences=True, return_state=True, unroll=unroll)
    out = layer(x)[0].numpy()
    counts, seen = (out.cumsum(1), x.cumsum(1)) if of == "counts" else (out, x)
    for t in range(12):
        np.testing.assert_array_equal(counts[:, t], pooling(seen[:, t]))
    first, *state = layer(x[:, :5])
    np.testing.assert_array_equal(np.concatenate([first, layer(x[:, 5:], initial_state=state)[0]], 1), out)


def gradients_of_pooling(layer, x, weight):
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(layer(x) * weight)
    return tape.gradient(loss, x).numpy()


@pytest.mark.parametrize("of", ["counts", "spikes"])
@pytest.mark.parametrize("gradient", ["accumulated", "bptt"])
def test_gradient_is_that_of_max_pooling_on_counts(gradient, of):
    x = tf.constant(spikes())
    pooling = keras.layers.MaxPooling2D(2)
    layer = ksbp.SpikingRNN(ksbp.MaxPoolingCell(pooling, of), gradient=gradient)
    weight = np.random.default_rng(1).normal(size=(3, 2, 3, 2)).astype("float32")
    found = gradients_of_pooling(lambda x: layer(x, training=True), x, weight)
    expected = gradients_of_pooling(pooling, tf.reduce_sum(x, 1), weight / 12)
    if gradient != "bptt":  # the same for each step
        np.testing.assert_allclose(found, np.repeat(expected[:, None], 12, 1), rtol=1e-6)
    elif of == "counts":  # each input is in all later counts; how ties are broken may change until the end
        np.testing.assert_allclose(found[:, -1], expected, rtol=1e-6)
    else:  # at each step that of the maximum of the step
        of_steps = np.stack([gradients_of_pooling(pooling, x[:, t], weight / 12) for t in range(12)], 1)
        np.testing.assert_allclose(found, of_steps, rtol=1e-6)


def test_a_later_window_goes_on_from_the_counts():
    """Outputs are all spikes so far; the derivative is that of the maximum of the counts at the end."""
    x, pooling = spikes(), keras.layers.MaxPooling2D(2)
    layer = ksbp.SpikingRNN(ksbp.MaxPoolingCell(pooling, of="counts"), return_state=True)
    _, *state = layer(x[:, :5])
    later, before = tf.constant(x[:, 5:]), x[:, :5].sum(1)
    weight = np.random.default_rng(1).normal(size=(3, 2, 3, 2)).astype("float32")

    def run(y):
        return layer(y, initial_state=state, training=True)[0]

    np.testing.assert_allclose(run(later), pooling(x.sum(1)) / 12, rtol=1e-6)
    expected = gradients_of_pooling(lambda n: pooling(before + n), tf.reduce_sum(later, 1), weight / 12)
    found = gradients_of_pooling(run, later, weight)
    np.testing.assert_allclose(found, np.repeat(expected[:, None], 7, 1), rtol=1e-6)


@pytest.mark.parametrize(("gradient", "of"), [("accumulated", "spikes"), ("accumulated", "counts"), ("bptt", "spikes")])
def test_a_masked_step_is_skipped(gradient, of):
    x = tf.constant(spikes())
    mask = np.random.default_rng(3).random((3, 12)) < 0.6
    make = lambda: ksbp.SpikingRNN(ksbp.MaxPoolingCell(keras.layers.MaxPooling2D(2), of), gradient)  # noqa: E731
    together = gradients_of_pooling(lambda x: make()(x, mask=mask), x, 1.0)
    assert not together[~mask].any()
    for i in range(3):
        seen = tf.constant(x.numpy()[i : i + 1, mask[i]])
        np.testing.assert_array_equal(make()(x, mask=mask)[i : i + 1], make()(seen))
        np.testing.assert_allclose(together[i, mask[i]], gradients_of_pooling(make(), seen, 1.0)[0], rtol=1e-6)


def test_the_total_behind_batch_normalization_is_that_of_the_simulation():
    """In training the total of the normalised current is of other statistics than its sum in the loop."""
    norm = keras.layers.BatchNormalization()
    cell = ksbp.SequentialCell([
        keras.Sequential([keras.layers.Conv2D(2, 1, use_bias=False), norm]),
        ksbp.MaxPoolingCell(keras.layers.MaxPooling2D(2), of="counts"),
    ])  # fmt: skip
    x = np.random.default_rng(0).normal(size=(3, 5, 4, 4, 1)).astype("float32")
    layer = ksbp.SpikingRNN(cell)
    layer.build(x.shape)
    norm.moving_mean.assign([3.0, -2.0])
    states = [neuron.initial_state(3, gradient="accumulated") for neuron in cell.neurons()]
    for t in range(5):
        _, states = cell.run(tf.constant(x[:, t]), states)
    total = cell.accumulate(tf.constant(x.sum(1)), states, tf.constant(5.0), training=True)
    np.testing.assert_array_equal(total, states[0]["spike_count"])


def test_low_precision_counts_on():
    """bfloat16 has no 257: the counts must not be in the precision of the layer."""
    pooling = keras.layers.MaxPooling2D(2, dtype="mixed_bfloat16")
    layer = ksbp.SpikingRNN(ksbp.MaxPoolingCell(pooling, of="counts"), return_sequences=True)
    assert (layer(np.ones((1, 300, 2, 2, 1), "float32")).numpy() == 1).all()


@pytest.mark.parametrize(("weight", "of_a", "of_b"), [
    ([1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]),
    ([0, 0, 0, 0, 1, 0], [-1, -1, -1, -1, 0, 0], [1, 1, 1, 1, 1, 0]),
])  # fmt: skip
def test_where_the_lead_changes_by_hand(weight, of_a, of_b):
    """a leads until the count of b passes its own, in the fifth step."""
    x = tf.constant(np.array([[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1]], "float32").T[None, :, :, None])
    layer = ksbp.SpikingRNN(
        ksbp.MaxPoolingCell(keras.layers.MaxPooling1D(2), of="counts"), "bptt", return_sequences=True
    )
    found = gradients_of_pooling(layer, x, np.array(weight, "float32")[None, :, None, None])
    np.testing.assert_array_equal(found[0, :, :, 0], np.stack([of_a, of_b], 1))


def test_a_sum_of_spikes_is_one_spike_in_its_step():
    x = np.random.default_rng(0).integers(0, 4, (2, 9, 6, 1)).astype("float32")
    layer = ksbp.SpikingRNN(ksbp.MaxPoolingCell(keras.layers.MaxPooling1D(2), of="spikes", name="pool"))
    count = layer.observe(x)[1]["pool"]["spike_count"]
    np.testing.assert_array_equal(count, (x.reshape(2, 9, 3, 2, 1).max(3) > 0).sum(1))


def test_other_arguments_are_refused():
    with pytest.raises(ValueError, match="of"):
        ksbp.MaxPoolingCell(keras.layers.MaxPooling2D(2), of="sums")
    with pytest.raises(TypeError, match="synapse"):
        ksbp.MaxPoolingCell(keras.layers.AveragePooling2D(2))
