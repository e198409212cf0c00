"""A readout between other cells, a low-pass filter: what it hands on, its derivative, and what counts it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from tests.oracle import assert_close

BETA, LAST, T = 0.7, 0.9, 11
W1, W2 = (
    np.random.default_rng(i).normal(0.3, 0.5, shape).astype("float32") for i, shape in enumerate([(5, 4), (4, 3)])
)
X = (np.random.default_rng(2).random((3, T, 5)) < 0.5).astype("float32")


def network(gradient, differentiate_leak, last=None):
    leak = {"differentiate_leak": differentiate_leak}
    filter = ksbp.ReadoutCell(keras.layers.Dense(4, use_bias=False), beta=BETA, name="filter", **leak)
    last = last or ksbp.ReadoutCell(keras.layers.Dense(3, use_bias=False), beta=LAST, name="last", **leak)
    inputs = keras.Input((T, 5))
    model = keras.Model(inputs, ksbp.SpikingRNN(ksbp.SequentialCell([filter, last]), gradient)(inputs))
    model.set_weights([W1, W2])
    return model


def filtered(currents, beta):
    """The potential after each step, of currents (B, T, N)."""
    v, steps = 0.0, []
    for t in range(T):
        v = beta * (v + currents[:, t])
        steps.append(v)
    return np.stack(steps, 1)


def mean_of_sums(beta):
    """What a current adds to the sum over a potential, mean over the step in which it comes."""
    return np.mean([sum(beta ** (k + 1) for k in range(T - s)) for s in range(T)])


def mean_left(beta):
    """What is left of a current at the end, mean over the step in which it comes."""
    return np.mean([beta ** (T - s) for s in range(T)])


@pytest.mark.parametrize("differentiate_leak", [False, True])
def test_on_totals_the_slopes_are_means_over_time(differentiate_leak):
    model = network("accumulated", differentiate_leak)
    with tf.GradientTape() as tape:
        outputs = model(X, training=True)
        loss = tf.reduce_sum(outputs**2)
    v = filtered(X @ W1, BETA)
    expected = filtered(v @ W2, LAST)[:, -1] / T
    assert_close(outputs, expected)
    gained = mean_of_sums(BETA) if differentiate_leak else (T + 1) / 2
    left = mean_left(LAST) if differentiate_leak else 1.0
    upstream = 2 * expected / T * left  # by the current of the last, summed
    to_w1, to_w2 = tape.gradient(loss, model.trainable_weights)
    assert_close(to_w2, v.sum(1).T @ upstream, tolerance=1e-5)
    assert_close(to_w1, X.sum(1).T @ (upstream @ W2.T * gained), tolerance=1e-5)


def test_step_by_step_it_is_exact():
    model = network("bptt", True)
    w1, w2 = tf.Variable(W1, dtype=tf.float64), tf.Variable(W2, dtype=tf.float64)
    with tf.GradientTape() as expected_tape:
        v = u = tf.zeros((), tf.float64)
        for t in range(T):
            v = BETA * (v + tf.matmul(X[:, t].astype("float64"), w1))
            u = LAST * (u + tf.matmul(v, w2))
        expected = tf.reduce_sum((u / T) ** 2)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(X) ** 2)
    assert_close(loss, expected)
    gradients = tape.gradient(loss, model.trainable_weights), expected_tape.gradient(expected, [w1, w2])
    for actual, wanted in zip(*gradients, strict=True):
        assert_close(actual, wanted, tolerance=1e-5)


@pytest.mark.parametrize("gradient", ["accumulated", "bptt"])
def test_before_spiking_neurons(gradient, tmp_path):
    """Derived, saved, nested, and with the state carried from window to window."""
    last = ksbp.LIFCell(keras.layers.Dense(3, use_bias=False), beta=LAST, name="last")
    model = network(gradient, True, last)
    potential, spikes = 0.0, []
    for current in np.moveaxis(filtered(X @ W1, BETA) @ W2, 1, 0):
        potential = potential + current
        spikes.append(potential > 1)
        potential = LAST * np.where(spikes[-1], 0, potential)
    assert_close(model(X), np.mean(spikes, 0))
    assert 0.1 < np.mean(spikes) < 0.9
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(X, training=True))
    assert all(np.any(gradient) for gradient in tape.gradient(loss, model.trainable_variables))
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(X), model(X))
    filter, last = model.layers[-1].cell.cells
    nested = ksbp.SpikingRNN(ksbp.SequentialCell([ksbp.SequentialCell([filter]), last]), return_state=True)
    outputs, *states = nested(X[:, :6])
    outputs, *_ = nested(X[:, 6:], initial_state=states)
    assert_close(outputs, model(X))


@pytest.mark.parametrize("gradient", ["accumulated", "bptt"])
def test_statistics_behind_it_are_those_of_its_mean_potential(gradient):
    """Batch normalisation behind a readout sees V summed over the steps."""
    normalised = keras.layers.BatchNormalization(momentum=0.0)
    synapse = keras.Sequential([keras.layers.Dense(3, use_bias=False), normalised])
    cells = [
        ksbp.ReadoutCell(keras.layers.Dense(4, use_bias=False), beta=BETA),
        ksbp.LIFCell(synapse, surrogate="atan"),
    ]
    layer = ksbp.SpikingRNN(ksbp.SequentialCell(cells), gradient)
    layer.build(X.shape)
    cells[0].synapse.set_weights([W1])
    synapse.layers[0].set_weights([W2])
    layer(X, training=True)
    currents = filtered(X @ W1, BETA).mean(1) @ W2
    assert_close(normalised.moving_mean, currents.mean(0), tolerance=1e-5)
    assert_close(normalised.moving_variance, currents.var(0), tolerance=1e-5)


def test_its_potentials_are_multiplied(capsys):
    last = ksbp.LIFCell(keras.layers.Dense(3, use_bias=False), beta=LAST, name="last")
    model = network("accumulated", True, last)
    rows = {row["connection"]: row for row in ksbp.analysis.operations(model, X, verbose=0).rows}
    assert rows["input -> filter"]["accumulates"] == 4 * X.sum((1, 2)).mean()
    assert rows["filter -> last"]["accumulates"] == 0
    assert rows["filter -> last"]["macs"] == 3 * (filtered(X @ W1, BETA) != 0).sum((1, 2)).mean()
    assert [row["layer"] for row in ksbp.analysis.activity(model, X, verbose=0).rows] == ["input", "last", "total"]
    ksbp.summary(model)
    assert "readout 0.7" in capsys.readouterr().out
