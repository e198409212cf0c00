"""Thresholds, starting potentials and biases for few time steps, beside NumPy."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_spiking_bp as ksbp
from keras_spiking_bp.rnn.observe import activity_of
from keras_spiking_bp.rnn.spiking_model import input_over_time
from tests.conversion.test_convert import IMAGES, residual, trained_looking
from tests.slow import slow


def counted(values, norm, steps, start):
    """What a neuron tells that gets `values` at each step."""
    potential, count = np.full(values.shape, start), np.zeros(values.shape)
    for _ in range(steps):
        potential = potential + values / norm
        fired = potential > 1
        potential, count = potential - fired, count + fired
    return norm * count / steps


def one_layer():
    return trained_looking(keras.Sequential([keras.Input((5,)), layers.Dense(6, activation="relu"), layers.Dense(3)]))


def test_few_steps_round_to_the_nearest():
    """Counts of the first layer, whose currents are the same at each step, are those of NumPy."""
    data = np.random.default_rng(2).uniform(-1, 1, (120, 5)).astype("float32")
    ann = one_layer()
    activations = np.asarray(ann.layers[0](data))
    snn = ksbp.convert_to_snn(ann, data, 8, percentile=99.0, initial_membrane=0.5)
    kernel = np.asarray(snn.get_layer("time").cell.cells[0].synapse.kernel)
    norm = float((np.asarray(ann.layers[0].kernel) / kernel).mean())
    # of all 120 images, which come in three batches
    assert norm == pytest.approx(np.percentile(activations, 99.0), rel=1e-5)
    rate = activity_of(snn)(input_over_time(snn)(data))["fc1"]["spike_count"].numpy() / 8
    expected = counted(data.astype("float64") @ ann.layers[0].kernel.numpy() + ann.layers[0].bias.numpy(), norm, 8, 0.5)
    assert (np.abs(norm * rate - expected) < 1e-4).mean() > 0.995  # but for ties


@pytest.mark.parametrize("make", [slow(residual), one_layer])
def test_calibrated_biases_bring_the_means_to_those_of_the_ann(make):
    ann = trained_looking(make())
    data = IMAGES if make is residual else np.random.default_rng(2).uniform(-1, 1, (60, 5)).astype("float32")
    expected = ann.predict(data, verbose=0)
    plain, calibrated = (
        ksbp.convert_to_snn(ann, data, 8, percentile=95, initial_membrane=0.5, calibrate_biases=calibrate).predict(
            data, verbose=0
        )
        for calibrate in (False, True)
    )
    # the readout comes last: its mean over the images is exact
    np.testing.assert_allclose(calibrated.mean(0), expected.mean(0), atol=1e-4 * np.abs(expected).max())
    misses = [np.abs(found.mean(0) - expected.mean(0)).max() for found in (plain, calibrated)]
    assert misses[0] > 20 * misses[1]
    assert ((calibrated - expected) ** 2).mean() < ((plain - expected) ** 2).mean()


def test_a_maximum_is_the_scale_of_its_layer():
    """With a percentile of 100 it is the maximum of a ReLU6, though no image reaches it."""
    ann = keras.Sequential([keras.Input((5,)), layers.Dense(6), layers.ReLU(6.0), layers.Dense(3)])
    snn = ksbp.convert_to_snn(ann, np.full((20, 5), 0.1, "float32"), 4, percentile=100)
    kernel = np.asarray(snn.get_layer("time").cell.cells[0].synapse.kernel)
    np.testing.assert_allclose(6 * kernel, np.asarray(ann.layers[0].kernel), rtol=1e-6)


@pytest.mark.slow
def test_a_deep_network_needs_fewer_steps_with_signed_neurons():
    """Six convolutions, trained on real digits: at eight steps the currents of deep layers come unevenly."""
    keras.utils.set_random_seed(0)
    (x, y), (x_test, y_test) = ksbp.datasets.mnist_5k()
    inputs = current = keras.Input(x.shape[1:])
    for filters, strides in ((8, 1), (8, 2), (16, 1), (16, 2), (32, 1), (32, 1)):
        conv = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)
        current = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(conv(current)))
    ann = keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(current)))
    ann.compile(keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    ann.fit(x, y, batch_size=64, epochs=6, verbose=0)
    converted = [ksbp.convert_to_snn(ann, x[:300], 8, initial_membrane=0.5, signed=s) for s in (False, True)]
    plain, signed = ((snn.predict(x_test, verbose=0).argmax(-1) == y_test).mean() for snn in converted)
    assert signed > 0.75 and signed > plain + 0.5
