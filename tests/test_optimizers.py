"""Muon of kernels against Keras' own Muon, of matrices, and its Adam."""

import keras
import numpy as np
import pytest

import keras_spiking_bp as ksbp


def updated(optimizer, values, gradients):
    variables = [keras.Variable(value) for value in values]
    for _ in range(3):
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients], variables)
    return [np.array(variable) for variable in variables]


@pytest.mark.parametrize("shape", [(3, 3, 4, 5), (1, 1, 4, 5), (2, 3, 4), (7, 5)])
def test_a_kernel_is_a_matrix(shape):
    rng = np.random.default_rng(0)
    kernel, gradient = rng.normal(size=(2, *shape)).astype("float32")
    matrix, readout = (-1, shape[-1]), np.ones((2, 2), "float32")

    def ours(**options):
        return updated(ksbp.optimizers.Muon(**options), [kernel, readout], [gradient, readout])[0]

    options = {"learning_rate": 0.1, "weight_decay": 0.2, "momentum": 0.7, "ns_steps": 4}
    (expected,) = updated(keras.optimizers.Muon(**options), [kernel.reshape(matrix)], [gradient.reshape(matrix)])
    np.testing.assert_allclose(ours(**options).reshape(matrix), expected, rtol=1e-5, atol=1e-6)
    coarse = ours(**options, ns_dtype="bfloat16").reshape(matrix)
    assert 0 < np.abs(coarse - expected).max() < 0.1 * np.abs(expected - kernel.reshape(matrix)).max()


def test_all_else_is_trained_by_adam():
    rng = np.random.default_rng(0)
    values, gradients = ([rng.normal(size=s).astype("float32") for s in ((5, 3), (4,))] for _ in range(2))
    ours = updated(ksbp.optimizers.Muon(0.1, adam_lr_ratio=0.5), values, gradients)
    for value, expected in zip(ours, updated(keras.optimizers.Adam(0.05), values, gradients), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_a_spiking_network_learns_and_goes_on_from_its_file(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 64)
    images = (rng.uniform(size=(64, 8, 8, 1)) < 0.2 + 0.6 * labels[:, None, None, None]).astype("float32")
    model = ksbp.models.spiking_vgg((8, 8, 1), 2, [(4, 3), "pool"], [8], seed=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(ksbp.optimizers.Muon(ns_dtype="bfloat16"), loss, metrics=["accuracy"])
    model.fit(images, labels, epochs=4, batch_size=16, verbose=0)
    assert model.evaluate(images, labels, verbose=0)[1] > 0.9
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.optimizer.get_config() == model.optimizer.get_config()
    for network in (model, again):
        network.train_on_batch(images, labels)
    for value, expected in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)
