"""The parts of examples/experiments/cifar10.py: against stock layers, and as one network."""

import keras
import numpy as np
import tensorflow as tf

from examples.experiments import cifar10
from examples.experiments.rounded import RoundedReLU


def test_rates_and_derivatives_are_those_of_two_stock_layers():
    rng = np.random.default_rng(0)
    currents, upstream = (tf.constant(rng.normal(0.5, 2, (6, 5, 5, 3)), "float32") for _ in range(2))
    rates, norm = cifar10.RoundedRates(), keras.layers.BatchNormalization(momentum=0.8)
    rounding = RoundedReLU(cifar10.STEPS, cifar10.THRESHOLD, cifar10.INITIAL)
    results = []
    for layer in (lambda x: rates(x, training=True), lambda x: rounding(norm(x, training=True))):
        with tf.GradientTape() as tape:
            tape.watch(currents)
            outputs = layer(currents)
        results.append([outputs, *tape.gradient(outputs, [currents, *tape.watched_variables()], upstream)])
    for ours, stock in zip(*results, strict=True):
        np.testing.assert_allclose(ours, stock, rtol=1e-4, atol=1e-5)
    for ours, stock in zip(rates.weights, norm.weights, strict=True):
        np.testing.assert_allclose(ours, stock, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(rates(currents), rounding(norm(currents)), atol=1e-6)


def test_a_convolution_and_its_pooling_become_one_with_strides():
    rng = np.random.default_rng(0)
    images = rng.normal(0, 1, (3, 32, 32, 3)).astype("float32")
    trained = cifar10.training_network([5, 6, 6], "float32")
    for weight in trained.weights:
        if len(weight.shape) > 1:
            weight.assign(rng.normal(0, 3 / np.sqrt(np.prod(weight.shape[:-1])), weight.shape))
    network = cifar10.final(trained, [5, 6, 6], seed=0)
    expected = trained.predict(images, verbose=0)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(network.predict(images, verbose=0), expected, atol=1e-5)


def test_the_first_layer_whitens_patches():
    images = np.random.default_rng(0).normal(0, 1, (50, 32, 32, 3)).astype("float32")
    network = cifar10.rounded_network([5, 30], "float32")
    cifar10.initialise(network, images)
    patches = network.layers[1](images)[..., :12]
    covariance = np.cov(np.reshape(patches[:, :-1, :-1], (-1, 12)).T)  # the last row and column see padding
    np.testing.assert_allclose(covariance, np.eye(12), atol=0.02)
