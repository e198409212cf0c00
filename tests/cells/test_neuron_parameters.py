"""`beta`, `threshold`, `synaptic_beta`: one for each neuron, and learned."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from tests.oracle import assert_close
from tests.rnn.test_summary import lines_of
from tests.slow import slow

BETAS, THRESHOLDS, SYNAPTIC = [0.7, 0.95, 1.0], [0.6, 1.0, 1.7], [0.3, 1.0, 0.8]


def spikes(shape=(4, 12, 5), rate=0.5, seed=0):
    return (np.random.default_rng(seed).random(shape) < rate).astype("float32")


def kernel(seed=1, shape=(5, 3)):
    return np.random.default_rng(seed).normal(0.3, 0.4, shape).astype("float32")


def layer(units=3, gradient="bptt", return_sequences=False, **neuron):
    cell = ksbp.LIFCell(keras.layers.Dense(units, use_bias=False), **neuron)
    rnn = ksbp.SpikingRNN(cell, gradient=gradient, return_sequences=return_sequences)
    rnn.build((None, None, 5))
    return rnn


#: `gradient` and `surrogate`.
DERIVATIVES = [
    ("accumulated", None), ("accumulated", "atan"), ("accumulated", "bounded"), ("bptt", None), ("bptt", "atan"),
]  # fmt: skip


@pytest.mark.parametrize(("gradient", "surrogate", "reset", "synaptic"), [
    ("accumulated", None, "zero", None), ("bptt", "atan", "zero", None),
    *((*derivative, "subtract", SYNAPTIC) for derivative in DERIVATIVES),
])  # fmt: skip
def test_a_layer_with_arrays_is_its_neurons_side_by_side(gradient, surrogate, reset, synaptic):
    shared = {"reset_mechanism": reset, "surrogate": surrogate, "initial_membrane": 0.25}
    together = layer(gradient=gradient, beta=BETAS, threshold=np.array(THRESHOLDS), synaptic_beta=synaptic, **shared)
    weights, x = kernel(), spikes()
    together.set_weights([weights])
    results = []
    for i in [None, 0, 1, 2]:
        rnn = together
        if i is not None:
            own = {"beta": BETAS[i], "threshold": THRESHOLDS[i], "synaptic_beta": synaptic and synaptic[i]}
            rnn = layer(1, gradient, **own, **shared)
            rnn.set_weights([weights[:, i : i + 1]])
        with tf.GradientTape() as tape:
            outputs = rnn(x)
            loss = tf.reduce_sum(outputs**2)
        results.append((outputs, tape.gradient(loss, rnn.trainable_weights[0]), rnn.observe(x)[1].popitem()[1]))
    (outputs, gradients, observed), *each = results
    assert 0.1 < outputs.numpy().mean() < 0.9
    np.testing.assert_array_equal(outputs, np.concatenate([o for o, *_ in each], 1))
    assert_close(gradients, np.concatenate([g for _, g, _ in each], 1), tolerance=1e-6)
    for name, actual in observed.items():
        assert_close(actual, np.concatenate([o[name] for *_, o in each], 1), name, tolerance=1e-6)


@pytest.mark.parametrize("gradient", ["accumulated", "bptt"])
def test_a_readout_with_an_array(gradient):
    def outputs_and_gradient(units, beta, weights):
        cell = ksbp.ReadoutCell(keras.layers.Dense(units, use_bias=False), beta=beta, differentiate_leak=True)
        rnn = ksbp.SpikingRNN(cell, gradient=gradient)
        rnn.build((None, None, 5))
        rnn.set_weights([weights])
        with tf.GradientTape() as tape:
            outputs = rnn(spikes())
            loss = tf.reduce_sum(outputs**2)
        return outputs, tape.gradient(loss, rnn.trainable_weights)[0]

    together = outputs_and_gradient(3, BETAS, kernel())
    each = [outputs_and_gradient(1, beta, kernel()[:, i : i + 1]) for i, beta in enumerate(BETAS)]
    for i, actual in enumerate(together):
        assert_close(actual, np.concatenate([one[i] for one in each], 1), tolerance=1e-6)


def test_an_array_of_pictures_has_one_number_a_channel():
    synapse = keras.layers.Conv2D(3, 3, use_bias=False)
    rnn = ksbp.SpikingRNN(ksbp.LIFCell(synapse, threshold=THRESHOLDS), return_sequences=True)
    x = spikes((2, 9, 6, 6, 2))
    outputs = rnn(x)
    for i, threshold in enumerate(THRESHOLDS):
        one = ksbp.SpikingRNN(ksbp.LIFCell(synapse, threshold=threshold), return_sequences=True)
        np.testing.assert_array_equal(one(x)[..., i], outputs[..., i])


# --- learned ----------------------------------------------------------------------------------------------------------


def by_autodiff(x, weights, beta, threshold, reset, start):
    """The rates and the gradients of the sum of their squares, of the recursion written down; in double precision."""
    weights, beta, threshold = (tf.Variable(np.asarray(v, "float64")) for v in (weights, beta, threshold))

    @tf.custom_gradient
    def fires(u):
        slope = 1.0 / (1.0 + tf.square(np.pi * u))  # ATan(alpha=2)
        return tf.cast(u > 0, u.dtype), lambda g: g * slope

    with tf.GradientTape() as tape:
        membrane, count = start * threshold, 0.0
        for t in range(x.shape[1]):
            potential = membrane + tf.linalg.matmul(x[:, t].astype("float64"), weights)
            fired = fires(potential - threshold)
            at_reset = tf.stop_gradient(fired)
            left = potential * (1 - at_reset) if reset == "zero" else potential - threshold * at_reset
            membrane, count = beta * left, count + fired
        rates = count / x.shape[1]
        loss = tf.reduce_sum(rates**2)
    return rates, tape.gradient(loss, [beta, threshold, weights])


@pytest.mark.parametrize(("beta", "threshold", "reset"), [
    (0.8, 1.1, "subtract"), (BETAS, THRESHOLDS, "zero"), slow((BETAS, THRESHOLDS, "subtract")),
], ids=["layer-subtract", "each-zero", "each-subtract"])  # fmt: skip
def test_gradients_of_learned_ones(beta, threshold, reset):
    """The potential begins at a share of the learned threshold."""
    start = 0.5
    rnn = layer(
        beta=beta, threshold=threshold, reset_mechanism=reset, surrogate="atan", learn_beta=True, learn_threshold=True,
        initial_membrane=start,
    )  # fmt: skip
    assert [w.path.split("/")[-1] for w in rnn.trainable_weights] == ["beta", "threshold", "kernel"]
    x = spikes((4, 7, 5))
    rnn.cell.synapse.set_weights([kernel()])
    expected, gradients = by_autodiff(x, kernel(), beta, threshold, reset, start)
    traced_before = tf.function(rnn)
    traced_before(x)  # without a tape
    for run in (rnn, traced_before):
        with tf.GradientTape() as tape:
            outputs = run(x)
            loss = tf.reduce_sum(outputs**2)
        np.testing.assert_allclose(outputs, expected, atol=1e-6)
        for name, actual, wanted in zip(
            ("beta", "threshold", "kernel"), tape.gradient(loss, rnn.trainable_weights), gradients, strict=True
        ):
            assert actual.shape == wanted.shape, name
            assert_close(actual, wanted, name, tolerance=1e-5)


def test_a_learned_leak_of_a_readout():
    cell = ksbp.ReadoutCell(keras.layers.Dense(3, use_bias=False), beta=BETAS, differentiate_leak=True, learn_beta=True)
    rnn = ksbp.SpikingRNN(cell, gradient="bptt")
    rnn.build((None, None, 5))
    cell.synapse.set_weights([kernel()])
    x = spikes()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(rnn(x) ** 2)
    actual = tape.gradient(loss, cell.beta)
    age = np.arange(x.shape[1], 0, -1)[:, None, None]  # of the current of step t at the end: T - t + 1
    currents = np.moveaxis(x, 1, 0) @ kernel()
    outputs = (np.array(BETAS) ** age * currents).sum(0) / len(age)
    by_beta = (age * np.array(BETAS) ** (age - 1) * currents).sum(0) / len(age)
    assert_close(actual, (2 * outputs * by_beta).sum(0), tolerance=1e-5)


def model_that_learns(beta=0.5, threshold=1.0):
    learned = {"surrogate": "triangle", "learn_beta": True, "learn_threshold": True}
    hidden = ksbp.LIFCell(keras.layers.Dense(6), beta, threshold, **learned)
    readout = ksbp.ReadoutCell(keras.layers.Dense(2), beta=0.9, differentiate_leak=True, learn_beta=True)
    return keras.Sequential([keras.Input((12, 5)), ksbp.SpikingRNN(ksbp.SequentialCell([hidden, readout]), "bptt")])


def test_fit_moves_them_and_keeps_them_in_range(tmp_path):
    keras.utils.set_random_seed(0)
    model = model_that_learns()
    x, y = spikes((64, 12, 5)), np.arange(64) % 2
    model.compile(keras.optimizers.SGD(50.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    hidden, readout = model.layers[-1].cell.cells
    model.fit(x, y, epochs=2, verbose=0)
    for cell in (hidden, readout):
        assert 1e-3 <= float(cell.beta) <= 1
    assert float(hidden.threshold) >= 1e-3
    assert float(hidden.beta) != 0.5
    assert float(hidden.threshold) != 1.0
    for gradient, beta, threshold in ((9.0, 1e-3, 1e-3), (-9.0, 1.0, 9.001)):  # far beyond each bound
        keras.optimizers.SGD(1.0).apply([tf.constant(gradient)] * 2, [hidden.beta, hidden.threshold])
        assert (float(hidden.beta), float(hidden.threshold)) == pytest.approx((beta, threshold))
    hidden.beta.assign(0.6), hidden.threshold.assign(1.3), readout.beta.assign(0.7)
    model.save(tmp_path / "model.keras")
    same = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(same(x), model(x))
    assert float(same.layers[-1].cell.cells[0].threshold) == pytest.approx(1.3)
    clone = keras.models.clone_model(model)
    assert float(clone.layers[-1].cell.cells[0].threshold) == 1.0  # where it starts
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone(x), model(x))


def test_exports_and_summary_have_the_learned_values(tmp_path, capsys):
    model = model_that_learns(threshold=[0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    model.layers[-1].cell.cells[0].beta.assign(0.625)
    ksbp.summary(model)
    row = capsys.readouterr().out.splitlines()[2].split()
    assert "LIF 0.625 (learned), threshold 0.5 to 1 (learned)" in " ".join(row)
    assert row[-2:] == ["43", "6"]  # 36 of the synapse, a leak, 6 thresholds
    x = spikes()
    ksbp.export.export_saved_model(model, tmp_path / "exported")
    loaded = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(loaded.signatures["spikes"](spikes=tf.constant(x))["outputs"], model(x), atol=1e-6)
    graph = ksbp.to_nir(model)
    np.testing.assert_allclose(ksbp.from_nir(graph)(x), model(x), atol=1e-6)
    np.testing.assert_allclose(graph.nodes[model.layers[-1].cell.cells[0].name].v_threshold, np.linspace(0.5, 1, 6))


def test_a_plain_rnn_of_keras_learns_them_too():
    cell = ksbp.LIFCell(keras.layers.Dense(3), surrogate="atan", learn_beta=True, learn_threshold=True)
    found = []
    for layer in (
        keras.layers.RNN(cell, return_sequences=True),
        ksbp.SpikingRNN(cell, gradient="bptt", return_sequences=True),
    ):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(spikes()))
        found.append(tape.gradient(loss, [cell.beta, cell.threshold]))
    for plain, own in zip(*found, strict=True):
        assert np.abs(own).min() > 1e-3
        np.testing.assert_allclose(plain, own, rtol=1e-5)


def test_an_array_is_copied():
    betas = np.full(3, 0.9, "float32")
    cell = ksbp.LIFCell(keras.layers.Dense(3), beta=betas)
    betas[:] = 5
    np.testing.assert_allclose(cell.beta, 0.9)


def test_parameters_that_were_changed_are_saved(tmp_path):
    cell = ksbp.LIFCell(keras.layers.Dense(3), beta=0.9, synaptic_beta=0.5, initial_membrane=0.5)
    readout = ksbp.ReadoutCell(keras.layers.Dense(2))
    inputs = keras.Input((12, 5))
    model = keras.Model(inputs, ksbp.SpikingRNN(ksbp.SequentialCell([cell, readout]))(inputs))
    before = model(spikes())
    cell.threshold, cell.beta, cell.synaptic_beta, readout.beta = 0.3, np.array(BETAS, "float32"), 0.1, 0.5
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    copied = keras.models.clone_model(loaded)
    copied.set_weights(loaded.get_weights())
    expected = model(spikes())
    assert np.abs(expected - before).max() > 0.01
    for other in (loaded, copied):
        np.testing.assert_allclose(other(spikes()), expected, rtol=1e-6)


@pytest.mark.slow
def test_averages_of_a_learned_decay_stay_in_its_range():
    """`use_ema` averages values before the constraint: the weight may lie outside, what is computed does not."""
    cell = ksbp.LIFCell(keras.layers.Dense(8), beta=0.995, learn_beta=True, surrogate="atan", name="hidden")
    cell = ksbp.SequentialCell([cell, ksbp.ReadoutCell(keras.layers.Dense(2, kernel_initializer="ones"))])
    model = keras.Sequential([keras.Input((7, 5)), ksbp.SpikingRNN(cell, "bptt")])
    model.compile(keras.optimizers.Adam(1e-3, use_ema=True, ema_momentum=0.9), "mse")
    x = np.random.default_rng(0).uniform(0, 1, (64, 7, 5)).astype("float32")
    model.fit(x, np.full((64, 2), 50.0, "float32"), epochs=10, batch_size=4, verbose=0)
    (beta,) = (weight for weight in model.weights if weight.name == "beta")
    assert beta.numpy() > 1.0005
    correction, outputs = {}, {}
    for value in (1.2, 1.0, 0.8):
        beta.assign(value)
        assert f"LIF {min(value, 1.0):g} (learned)" in "".join(lines_of(model))
        output, activity = model.layers[-1].observe(x)
        correction[value], outputs[value] = activity["hidden"]["leak_correction"].numpy(), output.numpy()
    np.testing.assert_array_equal(correction[1.2], correction[1.0])
    np.testing.assert_array_equal(outputs[1.2], outputs[1.0])
    assert not np.array_equal(correction[0.8], correction[1.0]) and not np.array_equal(outputs[0.8], outputs[1.0])


def pictures(height):
    """Channels are last: (3, 1, 1), one number a channel in PyTorch, would broadcast as one for each of 3 rows."""
    cell = ksbp.LIFCell(keras.layers.Conv2D(3, 3, padding="same"), beta=np.reshape(BETAS, (3, 1, 1)))
    ksbp.SpikingRNN(cell)(np.ones((2, 4, height, 6, 2), "float32"))


def readout(**kwargs):
    return ksbp.ReadoutCell(keras.layers.Dense(3), learn_beta=True, **kwargs)


@pytest.mark.parametrize(("call", "error", "argument"), [
    (lambda: layer(beta=[0.5, 1.5, 0.5]), ValueError, "beta=1.5"),
    (lambda: layer(beta=[0.5, np.nan, 0.5]), ValueError, "beta"),
    (lambda: layer(beta=np.full((2, 3), 0.5)), ValueError, "beta"),
    (lambda: layer(threshold=[0.5, -1.0, 0.5]), ValueError, "threshold=-1"),
    (lambda: layer(threshold=[1.0, 2.0]), ValueError, "threshold"),
    (lambda: layer(synaptic_beta=[0.5, 0.0, 0.1]), ValueError, "synaptic_beta"),
    (lambda: layer(learn_beta=True), ValueError, "surrogate"),
    (lambda: layer(learn_threshold=True, surrogate="atan", gradient="accumulated"), ValueError, "bptt"),
    (lambda: layer(learn_threshold=True, surrogate="atan", threshold=5e-4), ValueError, "threshold"),
    (lambda: layer(learn_beta=True, surrogate="atan", beta=5e-4), ValueError, "beta"),
    (lambda: pictures(3), ValueError, "beta"),
    (lambda: pictures(5), ValueError, "beta"),
    (lambda: readout(), ValueError, "differentiate_leak"),
    (lambda: readout(beta=1e-4, differentiate_leak=True), ValueError, "beta"),
])  # fmt: skip
def test_refused(call, error, argument):
    with pytest.raises(error, match=argument):
        call()
