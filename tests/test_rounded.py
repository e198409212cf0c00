"""ReLU rounded to spike counts is what neurons do with a constant current."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from examples import deep_residual, rounding
from examples.rounded import RoundedReLU, rounded_counterpart


@pytest.mark.parametrize("num_steps, threshold, initial_membrane", [(4, 2.0, 0.5), (8, 1.0, 0.0), (5, 0.75, 0.25)])
def test_it_is_the_rate_of_neurons_with_a_constant_current(num_steps, threshold, initial_membrane):
    currents = np.random.default_rng(0).uniform(-1.5, 1.5, (50, 40)).astype("float32") * threshold
    currents[0, :3] = [0.0, threshold / 2, threshold]  # exactly on a bound
    cell = ksbp.LIFCell(
        keras.layers.Identity(),
        beta=1.0,
        threshold=threshold,
        initial_membrane=initial_membrane,
        reset_mechanism="subtract",
        surrogate="bounded",
    )
    spiking = ksbp.SpikingRNN(cell)
    rounded = RoundedReLU(num_steps, threshold, initial_membrane)
    rates, slopes = [], []
    for layer in (lambda x: spiking(tf.repeat(x[:, None], num_steps, 1), training=True), rounded):
        x = tf.Variable(currents)
        with tf.GradientTape() as tape:
            rate = layer(x)
        rates.append(rate.numpy())
        slopes.append(tape.gradient(rate, x).numpy())
    assert len(np.unique(rates[0])) == num_steps + 1
    assert 0.2 < np.mean(slopes[0] > 0) < 0.5
    np.testing.assert_allclose(rates[1], rates[0], atol=1e-6)
    np.testing.assert_allclose(slopes[1], slopes[0], atol=1e-6)


def test_the_rounded_network_has_the_weights_and_one_rounding_for_each_layer_of_neurons():
    model = deep_residual.network(rounding.TRAININGS.parse(["--blocks", "1"]), seed=0)
    rounded = rounded_counterpart(model, num_steps=4, threshold=2.0, initial_membrane=0.5)
    ann = ksbp.ann_counterpart(model)
    neurons = [neuron for neuron in model.layers[-1].cell.neurons() if isinstance(neuron, ksbp.LIFCell)]
    layers = [layer for layer in rounded.layers if isinstance(layer, RoundedReLU)]
    assert len(layers) == len(neurons) == 9  # a stem, two in each of three blocks, two on shortcuts
    assert not any(isinstance(layer, keras.layers.ReLU) for layer in rounded.layers)
    for mine, of_ann in zip(rounded.get_weights(), ann.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, of_ann)


def test_it_takes_no_options_of_time(capsys):
    with pytest.raises(SystemExit):
        rounding.main(["--rounded", "--surrogate", "atan"])
    excluded = "--gradient, --surrogate, --scale-surrogate, --beta"
    assert f"--rounded has no spiking neurons: leave out {excluded}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        rounding.main(["--rounded", "--ann"])
    assert "not allowed with argument" in capsys.readouterr().err
