"""The parts of examples/experiments/cifar10.py."""

import keras
import numpy as np

from examples.experiments import cifar10


def test_the_first_layer_whitens_patches_and_the_others_pass_on_their_input():
    images = np.random.default_rng(0).normal(0, 1, (50, 32, 32, 3)).astype("float32")
    network = cifar10.spiking_network([30], None, seed=0)
    cifar10.initialise(network, images)
    first, pooled, same = (cell.synapse for cell in network.get_layer("time").cell.neurons()[:3])
    patches = np.array(first(images))
    covariance = np.cov(np.reshape(patches[:, :-1, :-1, :12], (-1, 12)).T)  # the last row and column see padding
    np.testing.assert_allclose(covariance, np.eye(12), atol=0.02)
    tolerance = {"rtol": 1e-3, "atol": 1e-5}  # batch normalisation divides by the root of 1.001
    means = keras.layers.AveragePooling2D(2)(patches)
    np.testing.assert_allclose(pooled(patches)[..., :24], means, **tolerance)
    np.testing.assert_allclose(same(pooled(patches)), pooled(patches), **tolerance)
