"""Stock batch normalisation inside a synapse: against a stock network on the mean input; all around training."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from keras_spiking_bp.cells.batch_norm import in_one_pass
from keras_spiking_bp.cells.synapse import output_of
from keras_spiking_bp.rnn.derivative import take_statistics

STEPS, MOMENTUM = 10, 0.8
X = (np.random.default_rng(0).random((6, STEPS, 5)) < 0.5).astype("float32")


def normalized(units, norm=None):
    norm = norm or keras.layers.BatchNormalization(momentum=MOMENTUM)
    return keras.Sequential([keras.layers.Dense(units, use_bias=False, kernel_initializer="glorot_normal"), norm])


def moved(layer, seed=1):
    """Statistics, gamma and beta that are not those of the start."""
    rng = np.random.default_rng(seed)
    for norm in norms_of(layer):
        for variable in norm.weights:
            variable.assign(rng.uniform(0.3, 1.5, variable.shape))
    return layer


def norms_of(layer):
    return [part for part in layer._flatten_layers() if isinstance(part, keras.layers.BatchNormalization)]


def statistics(layer):
    return [variable.numpy() for norm in norms_of(layer) for variable in (norm.moving_mean, norm.moving_variance)]


def assert_close(one, other, **tolerance):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, **{"rtol": 1e-4, "atol": 1e-6, **tolerance})


def test_statistics_of_small_currents_are_exact():
    """The difference of two moving variances, near 1, would have lost these."""
    momentum = 0.999
    layer = ksbp.SpikingRNN(ksbp.LIFCell(normalized(4, keras.layers.BatchNormalization(momentum=momentum))))
    layer.build(X.shape)
    layer.cell.synapse.layers[0].kernel.assign(1e-3 * np.random.default_rng(2).normal(size=(5, 4)))
    take_statistics(layer, X)
    currents = X.mean(1) @ layer.cell.synapse.layers[0].kernel.numpy()
    assert currents.var(0).max() < 1e-6
    mean, variance = statistics(layer)
    np.testing.assert_allclose(mean, currents.mean(0), rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(variance, currents.var(0), rtol=1e-3)
    assert norms_of(layer)[0].momentum == momentum


def one_cell(gradient="accumulated", **kwargs):
    layer = ksbp.SpikingRNN(ksbp.LIFCell(normalized(4), beta=0.9, name="n", **kwargs), gradient=gradient)
    layer.build(X.shape)
    return moved(layer)


def gradients(layer, x, training=True):
    weights = layer.trainable_weights
    with tf.GradientTape() as tape:
        outputs = layer(x, training=training)
        loss = tf.reduce_sum(outputs * tf.reshape(tf.range(1.0, 1.0 + outputs.shape[1]), (1, -1)))
    return tape.gradient(loss, weights)


# --- against a stock network ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("surrogate", [None, "bounded"])
def test_gradient_and_update_are_those_of_a_stock_network_on_the_mean_input(surrogate):
    """The same slopes, written down from what the neurons do with the statistics of the batch."""
    layer, same = one_cell(surrogate=surrogate), one_cell(surrogate=surrogate)
    stock = normalized(4)
    stock.build((None, 5))
    stock.set_weights(layer.get_weights())
    same.set_weights(layer.get_weights())
    take_statistics(same, X)
    _, activity = same.observe(X)
    n = {name: value.numpy() for name, value in activity["n"].items()}
    if surrogate == "bounded":
        slope = ((n["membrane"] + n["spike_count"] > 0) & (n["spike_count"] < STEPS)).astype("float32")
    else:
        slope = n["leak_correction"] * n["last_spike"] / STEPS
    assert np.count_nonzero(slope) > 0 and slope.std() > 0

    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(slope * stock(X.mean(1), training=True) * np.arange(1.0, 5.0, dtype="float32"))
    expected = tape.gradient(loss, stock.trainable_weights)
    before = statistics(layer)
    given = gradients(layer, X)
    assert [v.path.rsplit("/", 1)[-1] for v in layer.trainable_weights] == ["kernel", "gamma", "beta"]
    assert_close(given, expected, atol=1e-5)
    assert_close(statistics(layer), statistics(stock))
    assert np.abs(statistics(layer)[0] - before[0]).max() > 0.01


@pytest.mark.parametrize("gradient", ["accumulated", "bptt"])
@pytest.mark.parametrize(
    "arguments", [{"return_sequences": True}, {"stateful": True}, {"unroll": True}, {"mask": True}]
)
def test_one_update_whatever_the_arguments(gradient, arguments):
    masked = arguments == {"mask": True}
    cell = ksbp.LIFCell(normalized(4), beta=0.9, dropout=0.3)
    layer = ksbp.SpikingRNN(cell, gradient, **({} if masked else arguments))
    layer.build(X.shape)
    old = statistics(moved(layer))
    seen = np.arange(STEPS) < np.arange(5, 5 + len(X))[:, None] if masked else np.ones((len(X), STEPS), bool)
    layer(X, training=True, **({"mask": seen} if masked else {}))
    mean = (X * seen[..., None]).sum(1) / np.minimum(seen.sum(1), STEPS)[:, None]
    currents = mean @ layer.trainable_weights[0].numpy()
    batch = currents.mean(0), currents.var(0)
    assert_close(statistics(layer), [MOMENTUM * a + (1 - MOMENTUM) * b for a, b in zip(old, batch, strict=True)])


OPTIONS = {"axis": 3, "epsilon": 0.1, "scale": False}


@pytest.mark.parametrize(("policy", "options", "training"), [
    ("float32", {}, True), ("float32", OPTIONS, False), ("float32", OPTIONS, True),
    ("mixed_bfloat16", OPTIONS, True), ("float16", {}, False),
])  # fmt: skip
def test_one_call_is_that_of_keras(policy, options, training):
    """Behind a convolution it is one operation of TensorFlow, not Keras' own."""
    norm = keras.layers.BatchNormalization(dtype=policy, **options)
    synapse = keras.Sequential([keras.layers.Conv2D(4, 3, use_bias=False, dtype=policy), norm])
    synapse.build((None, 8, 7, 2))
    spikes = (np.random.default_rng(0).random((3, 8, 7, 2)) < 0.4).astype("float32")
    factors = np.random.default_rng(1).normal(size=(3, 6, 5, 4)).astype("float32")
    called = tf.function(lambda x: output_of(synapse, x, training=training)).get_concrete_function(
        tf.TensorSpec(spikes.shape)
    )
    assert [op.type for op in called.graph.get_operations()].count("FusedBatchNormV3") == 1
    results = []
    for call in (lambda x: output_of(synapse, x, training=training), lambda x: synapse(x, training=training)):
        moved(synapse)
        with tf.GradientTape() as tape:
            currents = tf.cast(call(spikes), tf.float32)
            loss = tf.reduce_sum(currents * factors)
        results.append([currents, *tape.gradient(loss, synapse.trainable_weights), *statistics(synapse)])
    exact = policy == "float32"
    for ours, of_keras in zip(*results, strict=True):
        scale = np.abs(of_keras).max()
        np.testing.assert_allclose(ours, of_keras, rtol=1e-4 if exact else 0.02, atol=(1e-5 if exact else 0.02) * scale)


@pytest.mark.parametrize(("use_bias", "options"), [(False, {}), (True, {"scale": False, "center": False})])
def test_the_loop_folds_it_into_the_weights(use_bias, options):
    """A window, whose weights were prepared, has the potentials of the steps one by one, where nothing is folded."""
    parts = [keras.layers.Conv2D(4, 3, use_bias=use_bias), keras.layers.BatchNormalization(**options)]
    dense = [keras.layers.Dense(3, use_bias=use_bias), keras.layers.BatchNormalization(**options)]
    cells = [ksbp.LIFCell(keras.Sequential(parts)), keras.layers.Flatten(), ksbp.ReadoutCell(keras.Sequential(dense))]
    layer = ksbp.SpikingRNN(ksbp.SequentialCell(cells), block_size=5)
    x = (np.random.default_rng(0).random((3, 5, 8, 7, 2)) < 0.4).astype("float32")
    layer.build(x.shape)
    moved(layer, seed=2)
    before = [variable.numpy() for variable in layer.variables]
    graph = tf.function(layer).get_concrete_function(tf.TensorSpec(x.shape)).graph
    within = [op.type for op in graph.get_operations()]
    assert "Conv2D" in within and "BiasAdd" in within and "FusedBatchNormV3" not in within and "Rsqrt" not in within
    states = [neuron.initial_state(3) for neuron in layer.cell.neurons()]
    for t in range(x.shape[1]):
        potential, states = layer.cell.run(x[:, t], states)
    np.testing.assert_allclose(layer(x), potential / x.shape[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_equal(before, [variable.numpy() for variable in layer.variables])


def shared_by_two(norm):
    shared = keras.layers.Dense(4)
    return [keras.Sequential([shared, norm]), keras.Sequential([shared, keras.layers.BatchNormalization()])]


def inside_of_another(norm):
    shared, inputs = keras.layers.Dense(4), keras.Input((4,))
    return [keras.Model(inputs, shared(inputs)), keras.Sequential([shared, norm])]


def with_lora(norm):
    return [keras.Sequential([keras.layers.Dense(4, lora_rank=2), norm])]


def quantised(norm):
    dense = keras.layers.Dense(4)
    dense.build((None, 4))
    dense.quantize("int8")
    return [keras.Sequential([dense, norm])]


@pytest.mark.parametrize("synapses", [shared_by_two, inside_of_another, with_lora, quantised])
def test_what_is_not_folded_is_right_too(synapses):
    """Weights that are used elsewhere, too, or are not all there is of a layer, stay as they are."""
    cells = [ksbp.LIFCell(synapse) for synapse in synapses(keras.layers.BatchNormalization())]
    layer = ksbp.SpikingRNN(ksbp.SequentialCell([*cells, ksbp.ReadoutCell(keras.layers.Dense(2))]), gradient="bptt")
    x = X[..., :4]
    layer.build(x.shape)
    moved(layer)
    states = [neuron.initial_state(len(x)) for neuron in layer.cell.neurons()]
    for t in range(STEPS):
        potential, states = layer.cell.run(x[:, t], states)
    np.testing.assert_allclose(layer(x), potential / STEPS, rtol=1e-5)


def test_spikes_stay_in_the_precision_of_the_next_convolution():
    """A `Sequential` has a policy of its own, float32, which says nothing of its parts."""
    synapse = keras.Sequential(
        [keras.layers.Conv2D(4, 3, dtype="mixed_bfloat16"), keras.layers.BatchNormalization(dtype="mixed_bfloat16")]
    )
    cell = ksbp.LIFCell(synapse)
    cell.build((None, 8, 7, 2))
    assert synapse.compute_dtype == "float32"
    spikes, _ = cell.run(tf.ones((3, 8, 7, 2)), [cell.initial_state(3)])
    assert spikes.dtype == "bfloat16"


def test_statistics_are_without_the_draws_of_a_random_layer():
    """One mask for the whole window would have a variance of 1, where the mean of 100 masks has 0.01."""
    norm = keras.layers.BatchNormalization(momentum=0.0)
    parts = [keras.layers.Dense(1, kernel_initializer="ones", use_bias=False), keras.layers.Dropout(0.5, seed=0), norm]
    layer = ksbp.SpikingRNN(ksbp.ReadoutCell(keras.Sequential(parts)), gradient="bptt")
    for _ in range(2):
        layer(np.ones((64, 100, 1), "float32"), training=True)
    assert norm.moving_mean.numpy() == pytest.approx([1.0], abs=0.05)
    assert norm.moving_variance.numpy() == pytest.approx([0.0], abs=0.05)


class Twice(keras.Sequential):
    """Not its layers in a row."""

    def call(self, inputs, training=None, mask=None):
        return 2.0 * super().call(inputs, training=training)


def test_a_sequential_with_a_call_of_its_own():
    synapse = Twice([keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization()])
    synapse.build((None, 8, 7, 2))
    images = np.random.default_rng(0).random((3, 8, 7, 2)).astype("float32")
    np.testing.assert_allclose(output_of(moved(synapse), images), synapse(images, training=False), rtol=1e-6)


# --- a model that is trained ------------------------------------------------------------------------------------------

IMAGES = np.random.default_rng(0).uniform(0, 1, (16, 8, 8, 1)).astype("float32")


def network(gradient="accumulated", **kwargs):
    return ksbp.models.spiking_vgg(
        (8, 8, 1), 3, [(4, 3), "pool"], [8], num_steps=None, encoder=ksbp.ConstantEncoder(6), normalization="batch",
        pooling="average", initial_membrane=0.5, threshold=2.0, seed=0, gradient=gradient, preset="paper", **kwargs,
    )  # fmt: skip


def test_statistics_of_a_stateless_call():
    """The variables do not change."""

    def gradient(call):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(call() ** 2)
        return tape.gradient(loss, model.trainable_variables)

    model = network("bptt", surrogate="atan")
    start = model.get_weights()
    expected, after = gradient(lambda: model(IMAGES, training=True)), statistics(model)
    model.set_weights(start)
    values = [[v.value for v in vs] for vs in (model.trainable_variables, model.non_trainable_variables)]
    assert_close(
        gradient(lambda: model.stateless_call(*values, IMAGES, training=True)[0]), expected, rtol=1e-3, atol=1e-5
    )
    updated = model.stateless_call(*values, IMAGES, training=True)[1]
    updated = {v.path: value for v, value in zip(model.non_trainable_variables, updated, strict=True)}
    given = [updated[v.path] for norm in norms_of(model) for v in (norm.moving_mean, norm.moving_variance)]
    assert_close(given, after, rtol=1e-3, atol=1e-4)
    np.testing.assert_equal(model.get_weights(), start)


def test_evaluate_and_predict_and_validation_touch_nothing():
    model = keras.Sequential([keras.Input(X.shape[1:]), one_cell()])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    before, labels = model.get_weights(), np.ones((len(X), 4))
    predicted = model.predict(X, verbose=0)
    assert np.ptp(predicted, axis=0).max() > 0
    model.evaluate(X, labels, verbose=0)
    np.testing.assert_equal(model.get_weights(), before)
    assert_close([model(X[3:5])], [predicted[3:5]])  # one sample does not see the others
    after = []
    for validation in (None, (1.0 - X, labels)):
        model.set_weights(before)
        model.fit(X, labels, validation_data=validation, shuffle=False, verbose=0)
        after.append(model.get_weights())
    assert np.abs(after[0][-1] - before[-1]).max() > 0.01
    np.testing.assert_equal(after[1], after[0])


def test_an_empty_batch_of_images_has_no_statistics():
    norm = keras.layers.BatchNormalization()
    norm.build((None, 4, 4, 3))
    in_one_pass(norm, tf.random.normal((2, 4, 4, 3), seed=0), training=True)
    before = norm.get_weights()
    in_one_pass(norm, tf.zeros((0, 4, 4, 3)), training=True)
    np.testing.assert_equal(norm.get_weights(), before)
    assert np.abs(before[-1] - 1).max() > 1e-3


@pytest.mark.parametrize("gradient", ["accumulated", "bptt"])
def test_an_empty_batch_changes_nothing(gradient):
    """A device gets one where the last batch is smaller than the number of devices."""
    cell = ksbp.LIFCell(keras.Sequential([keras.layers.Dense(3), keras.layers.BatchNormalization()]), surrogate="atan")
    layer = ksbp.SpikingRNN(cell, gradient)
    learn = tf.function(lambda x: tf.gradients(tf.reduce_sum(layer(x, training=True)), layer.trainable_weights))
    x = np.random.default_rng(0).random((8, 5, 4)).astype("float32")
    layer.build(x.shape)
    learn = learn.get_concrete_function(tf.TensorSpec((None, 5, 4)))
    assert any(np.asarray(gradient).any() for gradient in learn(tf.constant(x)))
    before = [weight.numpy() for weight in layer.weights]
    for found in learn(tf.zeros((0, 5, 4))):
        np.testing.assert_array_equal(found, np.zeros(found.shape))
    np.testing.assert_equal([weight.numpy() for weight in layer.weights], before)
    assert np.abs(before[-1] - 1).max() > 1e-3


def test_frozen_statistics_stay():
    layer = ksbp.SpikingRNN(ksbp.SequentialCell([ksbp.LIFCell(normalized(4)), ksbp.ReadoutCell(normalized(3))]))
    layer.build(X.shape)
    first, second = norms_of(moved(layer))
    first.trainable = False
    before = first.get_weights(), second.get_weights()
    layer(X, training=True)
    np.testing.assert_equal(first.get_weights(), before[0])
    assert all(np.abs(a - b).max() > 0 for a, b in zip(second.get_weights()[2:], before[1][2:], strict=True))


# --- what is refused --------------------------------------------------------------------------------------------------


def norm(**kwargs):
    return keras.layers.BatchNormalization(name="norm", **kwargs)


def in_one_layer(outputs_of, *layers):
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.Sequential(layers)(outputs_of(inputs)), name="whole")


def run(synapse):
    return ksbp.SpikingRNN(ksbp.LIFCell(synapse), "bptt")(np.zeros((2, 4, 4), "float32"))


@pytest.mark.parametrize(("call", "argument"), [
    (lambda: run(keras.Sequential([keras.layers.Dense(3), norm(dtype="bfloat16")])), "'norm'"),
    (lambda: run(in_one_layer(keras.layers.Dense(4), norm(), keras.layers.Dropout(0.5))), "'whole'"),
    (lambda: ksbp.RecurrentCell(ksbp.LIFCell(keras.layers.Dense(3)), normalized(3)), "recurrent"),
])  # fmt: skip
def test_refused(call, argument):
    with pytest.raises(ValueError, match=argument):
        call()


# --- the layers before it, which only the steps go through -----------------------------------------------------------


def behind(*layers, cell=ksbp.LIFCell, gradient="accumulated"):
    """Four neurons behind these layers and a normalisation, built."""
    layer = ksbp.SpikingRNN(cell(keras.Sequential([*layers, keras.layers.BatchNormalization()])), gradient)
    layer.build(X.shape)
    rng = np.random.default_rng(3)
    for variable in layer.trainable_weights:
        variable.assign(rng.normal(0.3, 0.7, variable.shape))
    return layer


def test_a_sample_without_a_step_has_the_bias_of_one():
    seen = np.arange(STEPS) < np.array([0, *[STEPS] * (len(X) - 1)])[:, None]
    found = []
    for gradient in ("accumulated", "bptt"):
        layer = behind(keras.layers.Dense(4), gradient=gradient)
        found.append([layer(X, mask=seen, training=True), *statistics(layer)])
    assert_close(*found)


def test_a_stateless_call_derives_frozen_layers_by_its_own_values():
    """The backward pass, which runs them again, is outside of the call."""
    results = []
    for stateless in (True, False):
        first, frozen = keras.layers.Dense(4), keras.layers.Dense(4)
        layer = behind(first, frozen)
        frozen.trainable = False
        others = [2.0 * variable.value for variable in layer.non_trainable_variables]
        trainable = [tf.identity(variable.value) for variable in layer.trainable_variables]
        with tf.GradientTape() as tape:
            tape.watch(trainable)
            if stateless:
                outputs, _ = layer.stateless_call(trainable, others, X, training=True)
            else:
                for variable, value in zip(layer.non_trainable_variables, others, strict=True):
                    variable.assign(value)
                trainable = layer.trainable_variables
                outputs = layer(X, training=True)
            loss = tf.reduce_sum(outputs * tf.range(4.0))
        results.append(tape.gradient(loss, trainable))
    assert np.abs(results[1][0]).max() > 1e-3
    assert_close(*results)


@keras.saving.register_keras_serializable(package="tests")
class TwiceInTraining(keras.layers.Layer):
    is_affine = True

    def call(self, inputs, training=None):
        return 2.0 * inputs if training else inputs


def test_a_layer_that_reads_the_flag_is_derived_in_training():
    twice, plain = (behind(first, keras.layers.Dense(4)) for first in (TwiceInTraining(), keras.layers.Rescaling(2.0)))
    assert_close(gradients(twice, X), gradients(plain, X))


class Doubled(ksbp.LIFCell):
    def current(self, inputs, block):
        return super().current(2.0 * tf.cast(inputs, tf.float32), block)


def test_a_current_of_the_user_s_own():
    """It is not taken for that of the synapse: in training, nor for a constant input."""
    doubled, plain = behind(keras.layers.Dense(4), cell=Doubled), behind(keras.layers.Dense(4))
    doubled.set_weights(plain.get_weights())
    doubled(X, training=True)
    take_statistics(plain, X)
    for layer in (doubled, plain):  # their statistics are those of the synapse on the sums
        layer.cell.synapse.layers[-1].set_weights(plain.cell.synapse.layers[-1].get_weights())
    images = tf.constant(X[:, 0])
    doubled.block_size = 4
    np.testing.assert_array_equal(
        doubled(ksbp.ConstantEncoder(STEPS)(images)), plain(np.repeat(2.0 * X[:, :1], STEPS, axis=1))
    )
