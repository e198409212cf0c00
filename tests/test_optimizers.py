"""Muon against NumPy, and its Adam against Keras' own."""

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
    expected, velocity = kernel.reshape(-1, shape[-1]).astype("float64"), 0.0
    for _ in range(3):
        velocity = 0.7 * velocity + gradient.reshape(-1, shape[-1])
        update = gradient.reshape(-1, shape[-1]) + 0.7 * velocity
        left, values, right = np.linalg.svd(update / np.linalg.norm(update), full_matrices=False)
        for _ in range(4):
            values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
        size = 0.2 * np.sqrt(max(expected.shape))
        expected = (1 - 0.1 * 0.2) * expected - 0.1 * size * (left * values) @ right

    def ours(dtype):
        optimizer = ksbp.optimizers.Muon(0.1, weight_decay=0.2, momentum=0.7, ns_steps=4, ns_dtype=dtype)
        readout = np.ones((2, 2), "float32")
        return updated(optimizer, [kernel, readout], [gradient, readout])[0].reshape(expected.shape)

    np.testing.assert_allclose(ours("float32"), expected, rtol=1e-4, atol=1e-5)
    assert 0 < np.abs(ours("bfloat16") - expected).max() < 0.1 * np.abs(expected - kernel.reshape(expected.shape)).max()


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
