"""`fit` as Keras users know it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from tests.slow import slow, slow_except

ONE_LAYER = {"stages": [(4, 3)], "dense_units": []}


def model_for_digits(gradient="accumulated", seed=0, **kwargs):
    kwargs = {"stages": [(8, 3), "pool"], "dense_units": [32], "num_steps": 12, **kwargs}
    return ksbp.models.spiking_vgg((8, 8, 1), 10, gradient=gradient, seed=seed, **kwargs, preset="paper")


def digits():
    """1,797 real digits of 8 x 8 pixels that scikit-learn ships (it comes with mlxtend)."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return (images[order].reshape(-1, 8, 8, 1) / 16).astype("float32"), labels[order]


def compiled(model, rate=0.002):
    model.compile(
        keras.optimizers.SGD(rate, momentum=0.9), loss=ksbp.losses.SparseSumSquaredError(), metrics=["accuracy"]
    )
    return model


@pytest.mark.parametrize("policy", [None, slow("mixed_bfloat16")])
@pytest.mark.parametrize("gradient", ["accumulated", slow("bptt")])
def test_it_learns_real_digits(gradient, policy):
    x, y = digits()
    model = compiled(model_for_digits(gradient, dtype=policy))
    model.fit(x[:1500], y[:1500], batch_size=32, epochs=3, verbose=0)
    _, accuracy = model.evaluate(x[1500:], y[1500:], verbose=0)
    assert accuracy > 0.8
    assert {w.dtype for w in model.trainable_weights} == {"float32"}


def test_a_global_policy_of_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = model_for_digits(**ONE_LAYER)
    assert {n.synapse.compute_dtype for n in model.get_layer("time").cell.neurons()} == {"bfloat16"}
    assert model(np.ones((2, 8, 8, 1), "float32")).dtype == "float32" and {w.dtype for w in model.weights} == {
        "float32"
    }


def test_nan_in_a_step_to_skip_is_no_error():
    inputs, steps = keras.Input((4, 3)), keras.Input((4,), dtype="bool")
    layer = ksbp.SpikingRNN(ksbp.ReadoutCell(keras.layers.Dense(2)))
    model = keras.Model([inputs, steps], layer(inputs, mask=steps))
    spikes, mask = np.ones((2, 4, 3), "float32"), np.array([[True, True, True, False]] * 2)
    expected = model.predict([spikes, mask], verbose=0)
    spikes[:, -1] = np.nan
    np.testing.assert_array_equal(model.predict([spikes, mask], verbose=0), expected)


def test_nan_is_refused_at_inference_too():
    """Neurons would take it for the absence of a spike."""
    model = model_for_digits(encoder=None, **ONE_LAYER)
    spikes = np.ones((2, 12, 8, 8, 1), "float32")
    spikes[1, 3, 4, 4] = np.nan
    for use in (lambda: model.predict(spikes, verbose=0), lambda: ksbp.analysis.run(model, spikes, verbose=0)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="`sequences` of 'time' has NaN or infinity"):
            use()


@pytest.mark.parametrize(("gradient", "network"), slow_except(
    [("accumulated", ONE_LAYER), ("accumulated", {}), ("bptt", {})], ("accumulated", ONE_LAYER)
))  # fmt: skip
def test_jit_compile_gives_the_same_training(gradient, network):
    """Keras' default on a GPU. Spikes as input: XLA draws other random numbers."""
    rng = np.random.default_rng(0)
    spikes = rng.integers(0, 2, (16, 12, 8, 8, 1)).astype("float32")
    labels = rng.integers(0, 10, 16)
    weights = []
    for jit_compile in (False, True):
        model = model_for_digits(gradient, encoder=None, **network)
        before = model.get_weights()
        model.compile(keras.optimizers.SGD(0.001), loss=ksbp.losses.SparseSumSquaredError(), jit_compile=jit_compile)
        model.fit(spikes, labels, batch_size=8, epochs=1, shuffle=False, verbose=0)
        assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(before, model.get_weights(), strict=True))
        weights.append([w.numpy() for w in model.trainable_weights])
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_infinity_in_the_first_batch_stops_fit():
    """The error names the argument before the stack, not only behind it."""
    x, layer = np.ones((8, 3), "float32"), ksbp.SpikingRNN(ksbp.ReadoutCell(keras.layers.Dense(3)))
    x[5, 0] = -np.inf
    model = compiled(keras.Sequential([keras.Input((3,)), ksbp.PoissonEncoder(4), layer]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="NaN") as error:
        model.fit(x, np.zeros(8), batch_size=4, epochs=1, verbose=0)
    assert "images_has" in str(error.value).partition("most recent call last")[0]
