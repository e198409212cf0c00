"""`SpikingRNN`: time, states, masks, shapes; the same network in every form."""

import itertools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

import keras_spiking_bp as ksbp
from keras_spiking_bp.gradients.tracing import could_possibly_record
from keras_spiking_bp.rnn.statistics import take_statistics
from tests.slow import slow, slow_except

GRADIENTS = ["accumulated", "bptt"]


def _with_surrogate(gradient, surrogate, reset, marks=()):
    neuron = {"surrogate": surrogate, "reset_mechanism": reset}
    return pytest.param(gradient, neuron, id=f"{gradient}-{surrogate}-{reset}", marks=marks)


#: `gradient`, and the arguments of the neurons.
DERIVATIVES = [
    *(pytest.param(gradient, {}, id=gradient) for gradient in GRADIENTS),
    pytest.param("accumulated", {"surrogate": "bounded"}, id="bounded"),
    _with_surrogate("accumulated", "triangle", "subtract"),
    _with_surrogate("bptt", "atan", "zero"),
    *(
        _with_surrogate(gradient, surrogate, reset, pytest.mark.slow)
        for gradient, surrogate, reset in [
            ("accumulated", "triangle", "zero"),
            ("accumulated", "atan", "subtract"),
            ("accumulated", "fast_sigmoid", "zero"),
            ("accumulated", ksbp.surrogates.Sigmoid(4.0), "zero"),
            ("bptt", "triangle", "subtract"),
            ("bptt", "atan", "subtract"),
            ("bptt", "fast_sigmoid", "zero"),
            ("bptt", ksbp.surrogates.Sigmoid(4.0), "subtract"),
        ]
    ),
]


def _ends():
    """Each derivative with each end of the network; in the fast suite each end with a rule on totals, and `bptt`."""
    for derivative in DERIVATIVES:
        for sequences, readout in itertools.product((True, False), repeat=2):
            fast = (sequences == readout) == (derivative.id in ("accumulated", "bptt"))
            marks = derivative.marks if fast else (*derivative.marks, pytest.mark.slow)
            name = f"{derivative.id}-{sequences}-{readout}"
            yield pytest.param(*derivative.values, sequences, readout, id=name, marks=marks)


def _some(*fast):
    """The derivatives, those of other names than `fast` marked slow."""
    for derivative in DERIVATIVES:
        marks = derivative.marks if derivative.id in fast else (*derivative.marks, pytest.mark.slow)
        yield pytest.param(*derivative.values, id=derivative.id, marks=marks)


ENDS = pytest.mark.parametrize(("gradient", "neuron", "sequences", "readout"), list(_ends()))
BINARY = 0.75  # a leak, and weights in eighths below, whose arithmetic is exact in binary: results must be equal


def exact_weights(layer, seed=0):
    rng = np.random.default_rng(seed)
    for variable in layer.trainable_weights:
        variable.assign(rng.integers(-6, 9, variable.shape) / 8)


def conv_network(readout=True, neuron=None, **rnn_arguments):
    neuron = neuron or {}
    cells = [
        ksbp.LIFCell(keras.layers.Conv2D(3, 3, padding="same", use_bias=False), beta=BINARY, name="conv", **neuron),
        ksbp.PoolingCell(keras.layers.AveragePooling2D(2), name="pool", **neuron),
        keras.layers.Flatten(),
        ksbp.LIFCell(keras.layers.Dense(6, use_bias=False), beta=BINARY, name="fc", **neuron),
    ]
    if readout:
        cells.append(ksbp.ReadoutCell(keras.layers.Dense(4, use_bias=False), beta=BINARY, name="out"))
    rnn = ksbp.SpikingRNN(ksbp.SequentialCell(cells), **rnn_arguments)
    rnn.build((None, None, 4, 4, 2))
    exact_weights(rnn)
    return rnn


def spikes(batch=3, steps=8, seed=1):
    return np.random.default_rng(seed).integers(-1, 2, (batch, steps, 4, 4, 2)).astype("float32")


def same_network(rnn, **changes):
    other = ksbp.SpikingRNN.from_config({**rnn.get_config(), **changes})
    other.build((None, None, 4, 4, 2)) if not other.stateful else other.build((3, None, 4, 4, 2))
    other.set_weights(rnn.get_weights()[: len(other.get_weights())])
    return other


def outputs_and_gradients(rnn, x, **arguments):
    with tf.GradientTape() as tape:
        outputs = rnn(x, **arguments)
        loss = tf.reduce_sum(outputs**2)
    return [outputs.numpy(), *[g.numpy() for g in tape.gradient(loss, rnn.trainable_weights)]]


def assert_all_close(actual, expected, **tolerance):
    """By default up to 1e-6 of the largest entry: small ones may be sums of large terms that cancel."""
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, **(tolerance or {"rtol": 0, "atol": 1e-6 * np.abs(e).max()}))


@ENDS
def test_the_loop_equals_the_unrolled_loop(gradient, neuron, sequences, readout):
    rnn = conv_network(readout, neuron, gradient=gradient, return_sequences=sequences)
    x = spikes()
    expected = outputs_and_gradients(rnn, x)
    assert_all_close(outputs_and_gradients(same_network(rnn, unroll=True), x), expected)

    as_graph = tf.function(lambda x: outputs_like_graph(rnn, x))
    assert_all_close([o.numpy() for o in as_graph(x)], expected)


def outputs_like_graph(rnn, x):
    with tf.GradientTape() as tape:
        outputs = rnn(x)
        loss = tf.reduce_sum(outputs**2)
    return [outputs, *tape.gradient(loss, rnn.trainable_weights)]


@pytest.mark.parametrize("sequences", slow_except([True, False], True))
@pytest.mark.parametrize(("gradient", "neuron"), _some("bounded", "accumulated-triangle-subtract", "bptt-atan-zero"))
def test_xla(gradient, neuron, sequences):
    rnn = conv_network(neuron=neuron, gradient=gradient, return_sequences=sequences)
    x = spikes()
    compiled = tf.function(lambda x: outputs_like_graph(rnn, x), jit_compile=True)
    actual = [o.numpy() for o in compiled(tf.constant(x))]
    assert_all_close(actual, outputs_and_gradients(rnn, x), rtol=1e-5, atol=1e-5)


def test_the_output_over_time():
    rnn = conv_network(return_sequences=True)
    x = spikes()
    over_time = rnn(x).numpy()
    last_only = same_network(rnn, return_sequences=False)
    for t in (1, 4, 8):
        np.testing.assert_array_equal(over_time[:, t - 1], last_only(x[:, :t]))


def test_a_network_that_ends_in_spikes_gives_rates():
    rnn = conv_network(readout=False, return_sequences=True)
    trains = rnn(spikes()).numpy()
    assert set(np.unique(trains)) == {0.0, 1.0}
    rates = same_network(rnn, return_sequences=False)(spikes())
    np.testing.assert_allclose(rates, trains.mean(1), rtol=1e-6)


@pytest.mark.parametrize("start", [0.0, 0.5])
def test_potentials_start_at_a_share_of_the_threshold(start):
    """Integrated with no leak, a count is the charge in thresholds, rounded down, or from a half on to the nearest."""
    threshold, currents = 2.0, np.array([-0.3, 0.03, 0.13, 0.31, 0.59, 0.87, 1.11, 1.83], "float32")
    cell = ksbp.LIFCell(
        keras.layers.Activation("linear"), 1.0, threshold, reset_mechanism="subtract", initial_membrane=start
    )
    x = np.broadcast_to(currents, (1, 10, 8))
    counts = np.maximum(np.floor(10 * currents / threshold + start), 0)
    assert (np.maximum(np.floor(10 * currents / threshold), 0) == counts).all() == (start == 0)
    rates = ksbp.SpikingRNN(cell)(x)
    np.testing.assert_allclose(10 * rates[0], counts, rtol=1e-6)
    plain = keras.layers.RNN(cell, return_sequences=True)(x)
    np.testing.assert_array_equal(np.sum(plain, 1)[0], counts)

    stateful = ksbp.SpikingRNN(cell, stateful=True)
    stateful.build(x.shape)
    np.testing.assert_array_equal(stateful.states[0], np.full((1, 8), start * threshold))
    for _ in range(2):  # carried on, not started anew
        stateful(x[:, :4])
        np.testing.assert_allclose(stateful(x[:, 4:]), rates, rtol=1e-6)
        stateful.reset_state()


def test_what_the_potentials_may_start_at():
    for share in (-0.1, 1.0):
        with pytest.raises(ValueError, match=f"`initial_membrane` must be .*initial_membrane={share}"):
            ksbp.LIFCell(keras.layers.Dense(2), initial_membrane=share)


@pytest.mark.parametrize("readout", [True, False])
def test_chunks_with_carried_state_equal_the_whole_sequence(readout):
    whole = conv_network(readout)
    x = spikes(steps=10)
    expected = whole(x)

    handing_on = same_network(whole, return_state=True)
    first, *states = handing_on(x[:, :3])
    second, *states = handing_on(x[:, 3:], initial_state=states)
    np.testing.assert_array_equal(second, expected)
    np.testing.assert_array_equal(states[-1], [10, 10, 10])
    np.testing.assert_array_equal(first, whole(x[:, :3]))

    stateful = same_network(whole, stateful=True)
    stateful(x[:, :4])
    np.testing.assert_array_equal(stateful(x[:, 4:]), expected)
    stateful.reset_state()
    np.testing.assert_array_equal(stateful(x), expected)


@pytest.mark.parametrize("stateful", [False, True])
def test_a_prediction_at_every_step_goes_on_across_chunks(stateful):
    """`V[t] / t`, where t counts from the first chunk on."""
    whole, x = conv_network(return_sequences=True), spikes(steps=10)
    layer = same_network(whole, stateful=stateful, return_state=not stateful)
    parts, states = [], None
    for chunk in (x[:, :4], x[:, 4:]):
        output, *states = (layer(chunk),) if stateful else layer(chunk, initial_state=states)
        parts.append(output)
    np.testing.assert_array_equal(np.concatenate(parts, 1), whole(x))


@pytest.mark.parametrize("stateful", [True, False])
def test_the_last_prediction_is_shown_again_at_masked_steps_across_chunks(stateful):
    whole, x = conv_network(return_sequences=True), spikes(steps=10)
    layer = same_network(whole, stateful=stateful, return_state=not stateful)
    mask = np.ones((3, 10), bool)
    mask[0, 3:], mask[1, 4:6], mask[2, :5] = False, False, False  # padded, without a sensor, not begun
    parts, states = [], None
    for chunk in (slice(4), slice(4, 10)):
        how = {"mask": mask[:, chunk]}
        output, *states = (layer(x[:, chunk], **how),) if stateful else layer(x[:, chunk], initial_state=states, **how)
        parts.append(output)
    np.testing.assert_array_equal(np.concatenate(parts, 1), whole(x, mask=mask))
    assert np.abs(parts[1][0]).max() > 0 and np.abs(parts[0][2]).max() == 0


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("readout", [True, False])
def test_no_gradient_into_the_initial_state(gradient, readout):
    rnn = conv_network(readout, gradient=gradient)
    states = [state + 0.25 for state in rnn.get_initial_state(3)]
    with tf.GradientTape() as tape:
        tape.watch(states)
        loss = tf.reduce_sum(rnn(spikes(), initial_state=states))
    assert tape.gradient(loss, states) == [None] * len(states)


@ENDS
def test_masked_steps_are_skipped(gradient, neuron, readout, sequences):
    """A padded batch gives, sample by sample, what the samples give alone: outputs and gradients."""
    rnn = conv_network(readout, neuron, gradient=gradient)
    lengths = [8, 5, 6]
    mask = np.zeros((3, 8), bool)
    mask[0] = True
    mask[1, :5] = True
    mask[2, [0, 1, 3, 4, 6, 7]] = True  # gaps too
    x = spikes()
    alone = [outputs_and_gradients(rnn, x[i : i + 1][:, mask[i]]) for i in range(3)]
    if sequences:  # the last step shows the last output
        rnn = same_network(rnn, return_sequences=True)
        with tf.GradientTape() as tape:
            outputs = rnn(x, mask=mask)[:, -1]
            if not readout:
                outputs = tf.reduce_sum(rnn(x, mask=mask) * mask[..., None], 1) / np.array(lengths)[:, None]
            loss = tf.reduce_sum(outputs**2)
        together = [outputs, *tape.gradient(loss, rnn.trainable_weights)]
    else:
        together = outputs_and_gradients(rnn, x, mask=mask)
    np.testing.assert_allclose(together[0], np.concatenate([a[0] for a in alone]), rtol=1e-6, atol=1e-6)
    for actual, *of_samples in zip(together[1:], *[a[1:] for a in alone], strict=True):
        np.testing.assert_allclose(actual, sum(of_samples), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_a_later_window_has_its_share_in_the_gradient_of_each_output(masked):
    """V[t] / (steps before + t), a mean over earlier inputs too: on totals and step by step, without leak."""
    x, mask = spikes(), np.random.default_rng(0).uniform(size=(3, 8)) < 0.6 if masked else None
    weight = np.random.default_rng(1).normal(size=(3, 8, 1)).astype("float32")
    found = []
    for gradient in GRADIENTS:
        cell = ksbp.SequentialCell(
            [keras.layers.Flatten(), ksbp.ReadoutCell(keras.layers.Dense(2, kernel_initializer="ones"), beta=1.0)]
        )
        layer = ksbp.SpikingRNN(cell, gradient, return_sequences=True, return_state=True)
        _, *states = layer(x[:, :5])
        later = tf.constant(x, "float32")
        with tf.GradientTape() as tape:
            tape.watch(later)
            outputs, *_ = layer(later, initial_state=states, mask=mask)
            loss = tf.reduce_sum(outputs * weight)
        found.append(tf.reduce_sum(tape.gradient(loss, later), 1))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_masked_outputs_repeat_or_are_zero():
    mask = np.array([[True, True, False, True]] * 3)
    x = spikes(steps=4)
    outputs = conv_network(return_sequences=True)(x, mask=mask).numpy()
    np.testing.assert_array_equal(outputs[:, 2], outputs[:, 1])
    outputs = conv_network(return_sequences=True, zero_output_for_mask=True)(x, mask=mask).numpy()
    assert not outputs[:, 2].any() and outputs[:, 3].any()


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_outputs_that_a_mask_makes_zero_have_no_gradient(gradient):
    rnn = conv_network(gradient=gradient, return_sequences=True)
    x, mask = spikes(), np.random.default_rng(2).uniform(size=(3, 8)) < 0.7
    weight = np.random.default_rng(3).normal(size=(3, 8, 4)).astype("float32")

    def gradients(layer, weight):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x, mask=mask) * weight)
        return tape.gradient(loss, layer.trainable_weights)

    actual = gradients(same_network(rnn, zero_output_for_mask=True), weight)
    assert_all_close(actual, gradients(rnn, weight * mask[..., None]), rtol=1e-5, atol=1e-5)
    repeated = gradients(rnn, weight)  # a repeated output is that of the step before
    assert any(np.abs(a - b).max() > 0.1 for a, b in zip(actual, repeated, strict=True))


def test_a_mask_reaches_the_next_layer():
    x = np.random.default_rng(0).integers(1, 3, (3, 8, 5)).astype("float32")
    x[1, 5:] = 0
    cells = [ksbp.LIFCell(keras.layers.Dense(6)), ksbp.ReadoutCell(keras.layers.Dense(2))]
    layers = [ksbp.SpikingRNN(cells[0], return_sequences=True), ksbp.SpikingRNN(cells[1])]
    model = keras.Sequential([keras.Input((8, 5)), keras.layers.Masking(), *layers])
    alone = ksbp.SpikingRNN(ksbp.SequentialCell(cells))(x[1:2, :5])
    assert np.abs(alone).max() > 0.1
    np.testing.assert_allclose(model(x)[1], alone[0], rtol=1e-6)


def test_a_sample_that_is_masked_throughout_gives_zero():
    mask = np.ones((3, 8), bool)
    mask[1] = False
    for gradient in GRADIENTS:
        results = outputs_and_gradients(conv_network(gradient=gradient), spikes(), mask=mask)
        assert not results[0][1].any()
        assert all(np.isfinite(r).all() for r in results)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_sample_that_is_masked_throughout_has_no_gradient(gradient):
    """Nor to biases; its potential may be that of earlier steps."""
    cell = ksbp.SequentialCell(
        [ksbp.LIFCell(keras.layers.Dense(4, bias_initializer="ones")), ksbp.ReadoutCell(keras.layers.Dense(2))]
    )
    rnn = ksbp.SpikingRNN(cell, gradient=gradient)
    x = tf.random.stateless_uniform((2, 6, 3), (1, 2), 0, 2)
    rnn.build(x.shape)
    before = [tf.ones_like(state) for state in rnn.get_initial_state(2)]

    def gradients(mask):
        with tf.GradientTape() as tape:
            outputs = tf.reduce_sum(rnn(x, initial_state=before, mask=tf.constant(mask)))
        return tape.gradient(outputs, rnn.trainable_weights)

    for gradient_of_none in gradients([[False] * 6] * 2):
        np.testing.assert_array_equal(gradient_of_none, 0.0)
    both, one = gradients([[True] * 6, [False] * 6]), gradients([[True] * 6, [True] * 6])
    assert any(np.abs(g).max() > 0.1 for g in both)
    assert any(np.abs(a - b).max() > 0.1 for a, b in zip(both, one, strict=True))


BEHIND_THE_SPIKES = {  # layers behind the last neurons
    "bias": lambda: keras.layers.Dense(2, bias_initializer="ones"),
    "batch normalisation": lambda: keras.layers.BatchNormalization(),
    "low precision": lambda: keras.layers.Flatten(dtype="mixed_bfloat16"),
}


@pytest.mark.parametrize("layer", BEHIND_THE_SPIKES)
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_training_gives_the_outputs_and_states_of_the_loop(gradient, layer):
    cell = ksbp.SequentialCell([ksbp.LIFCell(keras.layers.Dense(4), threshold=0.5), BEHIND_THE_SPIKES[layer]()])
    rnn = ksbp.SpikingRNN(cell, gradient=gradient, return_state=True)
    rng = np.random.default_rng(0)
    _, *states = rnn(rng.integers(0, 2, (2, 11, 3)).astype("float32"), training=True)  # takes the first statistics
    exact_weights(cell.cells[0], seed=2)
    arguments = {"initial_state": states, "mask": np.array([[True] * 11, [False] * 11])}
    x = 2 * rng.integers(0, 2, (2, 11, 3)).astype("float32")
    plain, trained = (rnn(x, training=training, **arguments) for training in (False, True))
    assert np.abs(plain[0]).sum() > 0.1
    for expected, value in zip(plain, trained, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_window_without_steps_has_no_gradient(gradient):
    rnn = ksbp.SpikingRNN(ksbp.ReadoutCell(keras.layers.Dense(3)), gradient=gradient)
    steps = tf.TensorSpec((None, None, 4))
    for call in (rnn, tf.function(rnn, input_signature=[steps]).get_concrete_function()):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(call(tf.zeros((2, 0, 4))))
        for of_weights in tape.gradient(loss, rnn.trainable_weights):
            assert of_weights is None or not np.any(of_weights)


def test_a_window_without_steps_has_no_sequence_of_outputs_in_a_graph():
    rnn = ksbp.SpikingRNN(ksbp.ReadoutCell(keras.layers.Dense(3)), return_sequences=True)
    call = tf.function(rnn, input_signature=[tf.TensorSpec((None, None, 4))])
    assert call(tf.zeros((2, 1, 4))).shape == (2, 1, 3)
    with pytest.raises(tf.errors.InvalidArgumentError):
        call(tf.zeros((2, 0, 4)))


@pytest.mark.parametrize(("gradient", "constant"), [("accumulated", True), ("bptt", False)])
def test_a_second_derivative_takes_slopes_on_totals_as_constants(gradient, constant):
    rnn = ksbp.SpikingRNN(ksbp.LIFCell(keras.layers.Dense(4, use_bias=False), surrogate="atan"), gradient)
    x = np.random.default_rng(0).integers(0, 2, (3, 8, 5)).astype("float32")
    rnn.build(x.shape)
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            loss = tf.reduce_sum(rnn(x))  # linear in the spikes: only their slopes depend on the weights
        (first,) = inner.gradient(loss, rnn.trainable_weights)
        squared = tf.reduce_sum(first**2)
    (second,) = outer.gradient(squared, rnn.trainable_weights)
    assert np.any(first) and (second is None or not np.any(second)) == constant


@pytest.mark.parametrize("whole", [False, True])
def test_what_is_frozen_does_not_train(whole):
    hidden = ksbp.LIFCell(keras.layers.Dense(6), surrogate="atan", learn_beta=True, learn_threshold=True)
    layer = ksbp.SpikingRNN(ksbp.SequentialCell([hidden, ksbp.ReadoutCell(keras.layers.Dense(3))]), "bptt")
    model = keras.Sequential([keras.Input((10, 6)), layer, keras.layers.Dense(2)])
    frozen = layer if whole else hidden
    frozen.trainable = False
    before, others = frozen.get_weights(), model.layers[-1].get_weights()
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(np.ones((8, 10, 6)), np.ones((8, 2)), verbose=0)
    for a, b in zip(frozen.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not frozen.trainable_weights and (model.layers[-1].get_weights()[0] != others[0]).any()


def test_cells_of_one_name_cannot_be_observed():
    cells = [ksbp.LIFCell(keras.layers.Dense(3), name="a"), ksbp.ReadoutCell(keras.layers.Dense(2), name="a")]
    with pytest.raises(ValueError, match=r"these names stand for more than one: \['a'\]"):
        ksbp.SpikingRNN(ksbp.SequentialCell(cells)).observe(np.ones((1, 2, 4), "float32"))


@pytest.mark.parametrize("masked", [False, True])
def test_a_stateful_layer_of_one_sample_and_batches_of_unknown_size(masked):
    inputs = keras.Input(batch_shape=(1, None, 4))
    cell = ksbp.SequentialCell([ksbp.LIFCell(keras.layers.Dense(6)), ksbp.ReadoutCell(keras.layers.Dense(3))])
    sequences = keras.layers.Masking()(inputs) if masked else inputs
    model = keras.Model(inputs, ksbp.SpikingRNN(cell, stateful=True)(sequences))
    model.compile("sgd", "mse")
    x, y = np.ones((4, 5, 4), "float32"), np.ones((4, 3), "float32")
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(1)  # the last one may be smaller: no static size
    model.fit(x, y, batch_size=1, verbose=0)
    model.fit(batches, verbose=0)
    assert np.isfinite(model.evaluate(batches, verbose=0)) and model.predict(batches, verbose=0).shape == (4, 3)


@pytest.mark.parametrize("known", ["sequences", "mask", "states"])
def test_one_sample_whose_batch_size_is_known_of_one_tensor_alone(known):
    rnn = ksbp.SpikingRNN(ksbp.LIFCell(keras.layers.Dense(6)))
    x, mask = tf.ones((1, 5, 4)), tf.constant([[True, True, False, True, True]])
    rnn.build(x.shape)
    states = [state + 0.1 for state in rnn.get_initial_state(1)]
    specs = {"sequences": tf.TensorSpec((None, 5, 4)), "mask": tf.TensorSpec((None, 5), tf.bool)}
    specs["states"] = [tf.TensorSpec((None, *state.shape[1:])) for state in states]
    full = {"sequences": x, "mask": mask, "states": states}
    specs[known] = tf.nest.map_structure(tf.TensorSpec.from_tensor, full[known])
    call = tf.function(lambda x, mask, states: rnn(x, mask=mask, initial_state=states))
    found = call.get_concrete_function(*specs.values())(*tf.nest.flatten(list(full.values())))
    np.testing.assert_array_equal(found, rnn(x, mask=mask, initial_state=states))


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("samples", [1, 2])
def test_states_of_another_batch_size_that_the_graph_does_not_know_are_refused(samples, static):
    rnn = ksbp.SpikingRNN(ksbp.LIFCell(keras.layers.Dense(6)))
    rnn.build((None, 5, 4))
    states = rnn.get_initial_state(samples)
    specs = [tf.TensorSpec((samples if static else None, *state.shape[1:])) for state in states]
    call = tf.function(lambda x, states: rnn(x, initial_state=states))
    call = call.get_concrete_function(tf.TensorSpec((None, 5, 4)), specs)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="must have the batch size|not compatible with expected shape"
    ):
        call(tf.ones((3, 5, 4)), *states)
    assert call(tf.ones((samples, 5, 4)), *states).shape == (samples, 6)


@pytest.mark.parametrize("sequences", [False, True])
def test_a_layer_behind_the_last_neurons_has_the_gradient_on_totals(sequences):
    dense = keras.layers.Dense(2, bias_initializer="ones")
    cell = ksbp.SequentialCell([ksbp.LIFCell(keras.layers.Dense(4), threshold=0.5), dense])
    rnn = ksbp.SpikingRNN(cell, return_sequences=sequences)
    x = np.random.default_rng(0).integers(0, 2, (3, 7, 5)).astype("float32")
    with tf.GradientTape() as tape:
        outputs = rnn(x, training=True)
        loss = tf.reduce_sum(outputs * [1.0, 2.0])
    kernel, bias = tape.gradient(loss, dense.trainable_variables)
    rates = ksbp.SpikingRNN(cell.cells[0])(x)
    each = 7 if sequences else 1
    np.testing.assert_allclose(kernel, each * np.sum(rates, 0)[:, None] * [1, 2], rtol=1e-5)
    np.testing.assert_allclose(bias, each * 3 * np.array([1, 2]), rtol=1e-5)


def test_only_a_stateful_layer_has_a_state_to_reset():
    with pytest.raises(ValueError, match="`reset_state` is for a layer with stateful=True"):
        conv_network().reset_state()
    ksbp.SpikingRNN(ksbp.LIFCell(keras.layers.Dense(3)), stateful=True).reset_state()  # not built: nothing to do


class AlwaysDrops(keras.layers.Dropout):
    """Dropout in inference too."""

    def call(self, inputs, training=None):
        return super().call(inputs, training=True)


class AlwaysDropsInside(keras.layers.Layer):
    """The same, with Keras' own layer in it."""

    def __init__(self, rate, seed):
        super().__init__()
        self.drop = keras.layers.Dropout(rate, seed=seed)

    def call(self, inputs):
        return self.drop(inputs, training=True)


@pytest.mark.parametrize("drops", [slow(AlwaysDrops), AlwaysDropsInside])
@pytest.mark.parametrize("others", [
    {"dtype": "mixed_bfloat16"}, {"dtype": "float32"}, {"dtype": "float32", "normalised": True},
])  # fmt: skip
def test_a_random_synapse_draws_anew_at_each_step_and_in_each_call(others, drops):
    first = keras.layers.Dense(4, dtype=others["dtype"])
    if "normalised" in others:
        first = keras.Sequential([first, keras.layers.BatchNormalization()])
    noisy = keras.Sequential([drops(0.5, seed=0), keras.layers.Dense(20, kernel_initializer="ones")])
    cell = ksbp.SequentialCell([ksbp.LIFCell(first), ksbp.ReadoutCell(noisy, beta=1.0)])
    layer = ksbp.SpikingRNN(cell, gradient="bptt", return_sequences=True)
    inputs = np.random.default_rng(0).uniform(0, 9, (2, 8, 5)).astype("float32")
    outputs = [tf.function(layer)(inputs).numpy() * np.arange(1, 9)[:, None] for _ in range(2)]
    steps = np.diff(outputs[0], axis=1)[..., 0]
    assert len(np.unique(np.round(steps, 3))) > 2
    assert np.abs(outputs[0] - outputs[1]).max() > 0.5


def test_a_mask_that_keras_attached_to_the_inputs_is_used_by_all():
    norm = keras.layers.BatchNormalization()
    synapse = keras.Sequential([keras.layers.Dense(6, use_bias=False), norm])
    layer = ksbp.SpikingRNN(ksbp.LIFCell(synapse, beta=0.9, name="hidden"))
    x = np.random.default_rng(0).integers(1, 3, (3, 8, 5)).astype("float32")
    x[:, 5:] = 0
    padded = keras.layers.Masking()(x)
    seen = x[:, :5]
    take_statistics(layer, padded)  # of a layer that it builds
    currents = seen.mean(1) @ synapse.layers[0].kernel.numpy()
    assert_all_close([norm.moving_mean, norm.moving_variance], [currents.mean(0), currents.var(0)], rtol=1e-3)
    expected, activity = layer.observe(seen)
    initial = layer.get_initial_state(3)
    for outputs in (layer(padded), layer(padded, initial_state=initial), layer.observe(padded)[0]):
        assert_all_close([outputs], [expected])
    assert np.abs(layer(x, initial_state=initial) - expected).max() > 0.01
    counts = layer.observe(padded)[1]["hidden"]["spike_count"]
    np.testing.assert_array_equal(counts, activity["hidden"]["spike_count"])


@pytest.mark.parametrize("readout", [True, False])
def test_states_of_another_number_or_shape_are_refused_by_name(readout):
    layer, x = conv_network(readout), spikes()
    states = layer.get_initial_state(3)
    with pytest.raises(ValueError, match=r"`initial_state` must hold \['membrane of conv', .*Received: 2 tensors"):
        layer(x, initial_state=states[:2])
    name, shape = ("membrane of out", "3, 4") if readout else ("spikes so far", "3, 6")
    for wrong in (tf.zeros((3, 5)), tf.zeros((2, *states[3].shape[1:])), tf.zeros(states[3].shape[1:])):
        match = rf"`initial_state\[3\]`, {name}, must have the shape \({shape}\).*"
        match += re.escape(str(tuple(wrong.shape)))
        for run in (layer, tf.function(layer), layer.observe):
            with pytest.raises(ValueError, match=match):
                run(x, initial_state=[*states[:3], wrong, *states[4:]])


def test_what_needs_a_built_layer_says_so():
    layer = ksbp.SpikingRNN(ksbp.LIFCell(keras.layers.Dense(3)), name="rnn")
    with_states = ksbp.SpikingRNN(ksbp.LIFCell(keras.layers.Dense(3)), name="rnn", return_state=True)
    for use in (
        lambda: layer.get_initial_state(2),
        lambda: layer.compute_output_shape((None, 5, 8)),
        lambda: with_states.compute_mask(None, None),
    ):
        with pytest.raises(ValueError, match=r"'rnn' \(SpikingRNN\) must be built first"):
            use()


def test_unroll_needs_a_known_number_of_steps():
    layer = ksbp.SpikingRNN(ksbp.LIFCell(keras.layers.Dense(3)), unroll=True)
    with pytest.raises(ValueError, match=r"known number of time steps with unroll=True.*\(None, None, 8\)"):
        tf.function(layer).get_concrete_function(tf.TensorSpec((None, None, 8)))


def watched_steps(layer, monkeypatch):
    """A list that gets an entry at each step of the cell: whether a tape records it."""
    recorded, step = [], layer.cell.step

    def watched(inputs, states):
        recorded.append(could_possibly_record())
        return step(inputs, states)

    monkeypatch.setattr(layer.cell, "step", watched)
    return recorded


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_tape_records_no_step_of_a_rule_on_totals(gradient, monkeypatch):
    """In a custom training loop without `tf.function` too, memory does not grow with the number of steps."""
    layer = conv_network(gradient=gradient)
    recorded = watched_steps(layer, monkeypatch)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(spikes()) ** 2)
    assert recorded == [gradient == "bptt"] * 8
    assert all(np.abs(g).max() > 0 for g in tape.gradient(loss, layer.trainable_weights))


def test_a_tape_records_no_step_of_the_first_statistics(monkeypatch):
    synapses = [keras.Sequential([keras.layers.Dense(6), keras.layers.BatchNormalization()]) for _ in range(2)]
    layer = ksbp.SpikingRNN(ksbp.SequentialCell([ksbp.LIFCell(synapse) for synapse in synapses]))
    layer.build((None, None, 5))
    recorded = watched_steps(layer, monkeypatch)
    with tf.GradientTape():
        layer(np.ones((3, 8, 5), "float32"), training=True)
    assert recorded == [False] * 8 * 3  # once for each normalisation, and the step itself


def test_neurons_of_another_size_are_refused_by_name():
    make = lambda: ksbp.LIFCell(keras.layers.Conv2D(3, 3), name="trained")  # noqa: E731
    trees = [
        lambda cell: cell,
        lambda cell: ksbp.SequentialCell([cell, keras.layers.GlobalAveragePooling2D()]),
        lambda cell: ksbp.SequentialCell([ksbp.SequentialCell([cell])]),
        lambda cell: ksbp.GraphCell([(cell, "input")]),
        lambda cell: ksbp.ResidualCell(cell, ksbp.LIFCell(keras.layers.Conv2D(2, 3)), keras.layers.Conv2D(2, 5)),
    ]
    for tree in trees:
        cell = make()
        ksbp.SpikingRNN(cell).build((None, 3, 8, 8, 2))
        with pytest.raises(ValueError, match=r"'trained' has neurons for inputs of the shape \(8, 8, 2\).*\(9, 9, 2\)"):
            ksbp.SpikingRNN(tree(cell)).build((None, 3, 9, 9, 2))
    layer = ksbp.SpikingRNN(make(), name="rnn")
    layer(np.ones((2, 3, 8, 8, 2), "float32"))
    with pytest.raises(ValueError, match=r"step shape that 'rnn' was built for, \(8, 8, 2\).*\(2, 3, 1, 8, 2\)"):
        layer(np.ones((2, 3, 1, 8, 2), "float32"))


def test_go_backwards():
    rnn = conv_network(return_sequences=True)
    backwards = same_network(rnn, go_backwards=True)
    np.testing.assert_array_equal(backwards(spikes()), rnn(spikes()[:, ::-1]))
    mask = np.random.default_rng(2).uniform(size=(3, 8)) < 0.7
    outputs = backwards(spikes(), mask=mask)
    np.testing.assert_array_equal(outputs, rnn(spikes()[:, ::-1], mask=mask[:, ::-1]))
    np.testing.assert_array_equal(outputs._keras_mask, mask[:, ::-1])


@pytest.mark.parametrize("given", ["attached", "keyword", "positional"])
@pytest.mark.parametrize(
    ("policy", "return_state"),
    [("float32", True), ("mixed_bfloat16", False), slow(("float32", False)), slow(("mixed_bfloat16", True))],
)
def test_a_mask_goes_on_to_the_next_layer_whatever_the_global_policy(given, policy, return_state):
    keras.config.set_dtype_policy(policy)
    mask = np.arange(8) < [[8], [5], [3]]
    x = np.where(mask[..., None], np.random.default_rng(0).integers(1, 3, (3, 8, 5)), 0).astype("float32")
    first = ksbp.SpikingRNN(ksbp.LIFCell(keras.layers.Dense(6, bias_initializer="ones")), return_sequences=True)
    second = ksbp.SpikingRNN(ksbp.ReadoutCell(keras.layers.Dense(2, bias_initializer="ones")))
    expected = [second(first(x[i : i + 1, : mask[i].sum()]))[0] for i in range(3)]
    first.return_state = return_state
    if given == "attached":
        outputs = first(keras.layers.Masking()(x))
    else:
        outputs = first(x, None, mask) if given == "positional" else first(x, mask=mask)
    outputs = outputs[0] if return_state else outputs
    np.testing.assert_array_equal(outputs._keras_mask, mask)
    np.testing.assert_allclose(second(outputs), expected, rtol=1e-5)
    if given == "attached" and not return_state:
        model = keras.Sequential([keras.Input((8, 5)), keras.layers.Masking(), first, second])
        np.testing.assert_allclose(model(x), expected, rtol=1e-5)
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
        again.set_weights(model.get_weights())
        np.testing.assert_allclose(again(x), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("gradient", "surrogate"),
    [("accumulated", None), ("accumulated", "bounded"), ("bptt", None), ("accumulated", "atan"), ("bptt", "atan")],
)
def test_the_gradient_to_the_inputs(gradient, surrogate):
    """accumulated: the same for each step; bptt of the paper: none after the last spike."""
    cell = ksbp.LIFCell(keras.layers.Dense(2, use_bias=False), beta=0.5, surrogate=surrogate)
    rnn = ksbp.SpikingRNN(cell, gradient=gradient)
    x = tf.constant([[[2.0], [0.0], [0.0]]])  # one spike, at the first step
    rnn.build(x.shape)
    rnn.set_weights([np.ones((1, 2))])
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(rnn(x))
    slope = 1 / (1 + np.pi**2)  # of the surrogate, at all steps: the potential is 1 above or below the threshold
    correction = 1 + np.log(0.5) * 0.25
    second = 1 - 0.5 * slope  # the eligibility of the step after the spike; the first one is 1
    on_totals = slope * (1 + second + 1 + 0.5 * second * (1 - slope)) / 3
    expected = {
        ("accumulated", None): [correction / 3] * 3,
        ("accumulated", "bounded"): [1.0] * 3,
        ("bptt", None): [correction, 0, 0],
        ("accumulated", "atan"): [on_totals] * 3,
        ("bptt", "atan"): [slope, slope * 1.5, slope],
    }[gradient, surrogate]
    np.testing.assert_allclose(np.ravel(tape.gradient(loss, x)), 2 / 3 * np.array(expected), rtol=1e-5)


def test_layers_of_cells_equal_one_cell_of_layers():
    """Spike trains between SpikingRNN layers: the same numbers, forward and backward, as inside one SequentialCell."""
    inside = conv_network()
    x = spikes()
    expected = outputs_and_gradients(inside, x)
    first = ksbp.SpikingRNN(ksbp.SequentialCell(inside.cell.cells[:2]), return_sequences=True)
    rest = ksbp.SpikingRNN(ksbp.SequentialCell(inside.cell.cells[2:]))
    with tf.GradientTape() as tape:
        outputs = rest(first(x))
        loss = tf.reduce_sum(outputs**2)
    gradients = tape.gradient(loss, inside.trainable_weights)
    assert_all_close([outputs, *gradients], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("gradient", "neuron"), DERIVATIVES)
def test_gradients_do_not_depend_on_the_training_flag(gradient, neuron):
    rnn = conv_network(neuron=neuron, gradient=gradient)
    expected = outputs_and_gradients(rnn, spikes(), training=True)
    assert_all_close(outputs_and_gradients(rnn, spikes(), training=False), expected)


def test_integer_spikes_are_taken():
    rnn = conv_network()
    np.testing.assert_array_equal(rnn(spikes().astype("int8")), rnn(spikes()))
    np.testing.assert_array_equal(rnn(np.abs(spikes()).astype("bool")), rnn(np.abs(spikes())))


def test_integer_spikes_stay_one_byte_each():
    """In a training step no float tensor has all steps."""
    rnn = conv_network(gradient="accumulated")

    def train_step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(rnn(x, training=True))
        return tape.gradient(loss, rnn.trainable_weights)

    rnn(spikes(2, 7))
    graph = tf.function(train_step).get_concrete_function(tf.TensorSpec((2, 7, 4, 4, 2), "int8")).graph
    inside = [function.graph for function in graph._functions.values() if hasattr(function, "graph")]
    tensors = [output for g in (graph, *inside) for op in g.get_operations() for output in op.outputs]
    whole = {t.dtype for t in tensors if t.shape.num_elements() == 2 * 7 * 4 * 4 * 2}
    assert whole == {tf.int8}


def test_unknown_batch_and_unknown_number_of_steps():
    inputs = keras.Input((None, 4, 4, 2))
    rnn = conv_network(return_state=True, return_sequences=True)
    model = keras.Model(inputs, rnn(inputs))
    assert model.output[0].shape == (None, None, 4)
    assert [s.shape for s in model.output[1:]] == [(None, 4, 4, 3), (None, 2, 2, 3), (None, 6), (None, 4), (None,)]
    for batch, steps in ((2, 5), (3, 8)):
        assert_all_close(model.predict(spikes(batch, steps), verbose=0), rnn(spikes(batch, steps)))


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_gradients_with_unknown_batch_and_unknown_number_of_steps(gradient):
    rnn = conv_network(gradient=gradient, return_sequences=True)
    signature = [tf.TensorSpec((None, None, 4, 4, 2))]
    as_graph = tf.function(lambda x: outputs_like_graph(rnn, x), input_signature=signature)
    for batch, steps in ((2, 5), (3, 8)):
        x = spikes(batch, steps)
        assert_all_close([o.numpy() for o in as_graph(x)], outputs_and_gradients(rnn, x), rtol=1e-5, atol=1e-5)


def test_plain_keras_rnn_runs_every_cell():
    """Each cell is a cell of keras.layers.RNN; the spikes are those of SpikingRNN."""
    conv = lambda: keras.layers.Conv2D(2, 3, padding="same", use_bias=False)  # noqa: E731
    cells = [
        ksbp.LIFCell(conv(), beta=BINARY),
        ksbp.PoolingCell(keras.layers.AveragePooling2D(2)),
        ksbp.ResidualCell(ksbp.LIFCell(conv(), beta=BINARY), ksbp.LIFCell(conv(), beta=BINARY)),
        ksbp.SequentialCell([ksbp.LIFCell(conv(), beta=BINARY), ksbp.PoolingCell(keras.layers.AveragePooling2D(2))]),
    ]
    for cell in cells:
        ours = ksbp.SpikingRNN(cell, return_sequences=True)
        ours.build((None, None, 4, 4, 2))
        exact_weights(ours)
        plain = keras.layers.RNN(cell, return_sequences=True)
        np.testing.assert_array_equal(plain(spikes()), ours(spikes()))
    readout = ksbp.ReadoutCell(keras.layers.Dense(3), beta=BINARY)
    x = spikes().reshape(3, 8, 32)
    over_time = ksbp.SpikingRNN(readout, return_sequences=True)(x)
    plain = keras.layers.RNN(readout, return_sequences=True)(x)
    np.testing.assert_allclose(plain, over_time * np.arange(1, 9)[:, None], rtol=1e-5)


def test_reset_state_of_plain_keras_rnn_ends_dropout():
    dense = keras.layers.Dense(50, use_bias=False, kernel_initializer="ones")
    layer = keras.layers.RNN(ksbp.LIFCell(dense, dropout=0.5), return_sequences=True, stateful=True)
    x = np.ones((2, 6, 3), "float32")
    assert set(np.unique(layer(x, training=True))) == {0.0, 2.0}
    layer.reset_state()
    np.testing.assert_array_equal(layer(x, training=True), np.ones((2, 6, 50)))


def test_batch_normalisation_does_not_learn_in_plain_keras_rnn():
    norm = keras.layers.BatchNormalization(name="norm")
    layer = keras.layers.RNN(ksbp.LIFCell(keras.Sequential([keras.layers.Dense(3), norm])))
    with pytest.raises(ValueError, match="'norm' cannot learn in keras.layers.RNN"):
        layer(spikes().reshape(3, 8, 32), training=True)
    norm.trainable = False
    assert layer(spikes().reshape(3, 8, 32), training=True).shape == (3, 3)


def test_one_step_as_a_functional_model():
    cell = ksbp.LIFCell(keras.layers.Dense(3), threshold=0.5)
    inputs, membrane = keras.Input((5,)), keras.Input((3,))
    outputs, (after,) = cell(inputs, [membrane])
    model = keras.Model([inputs, membrane], [outputs, after])
    x, v = np.random.default_rng(0).normal(size=(4, 5)).astype("float32"), np.full((4, 3), 0.2, "float32")
    expected, (left,) = cell(x, [v])
    found, state = model.predict([x, v], verbose=0)
    assert 0 < found.mean() < 1
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(state, left, rtol=1e-6)


def test_plain_keras_rnn_trains():
    """The derivative there is bptt without leak correction: for beta = 1 the very same."""
    cell = ksbp.SequentialCell(
        [
            ksbp.LIFCell(keras.layers.Dense(6, use_bias=False), beta=1.0),
            ksbp.ReadoutCell(keras.layers.Dense(3, use_bias=False), beta=1.0),
        ]
    )
    x = spikes().reshape(3, 8, 32)
    ours = ksbp.SpikingRNN(cell, gradient="bptt")
    ours.build(x.shape)
    exact_weights(ours)
    expected = outputs_and_gradients(ours, x)
    with tf.GradientTape() as tape:
        outputs = keras.layers.RNN(cell)(x) / 8
        loss = tf.reduce_sum(outputs**2)
    assert_all_close([outputs, *tape.gradient(loss, cell.trainable_weights)], expected)


def test_dropout_in_plain_keras_rnn_is_held_over_time():
    cell = ksbp.LIFCell(keras.layers.Dense(50, use_bias=False, kernel_initializer="ones"), dropout=0.5)
    trains = keras.layers.RNN(cell, return_sequences=True)(np.ones((2, 6, 3), "float32"), training=True).numpy()
    assert set(np.unique(trains)) == {0.0, 2.0}
    np.testing.assert_array_equal(trains, np.repeat(trains[:, :1], 6, axis=1))
    at_rest = keras.layers.RNN(cell, return_sequences=True)(np.ones((2, 6, 3), "float32"), training=False)
    assert (at_rest.numpy() == 1).all()


def test_observe_gives_the_activity_of_each_layer():
    rnn = conv_network()
    outputs, activity = rnn.observe(spikes())
    np.testing.assert_array_equal(outputs, rnn(spikes()))
    assert list(activity) == ["conv", "pool", "fc", "out"]
    assert set(activity["fc"]) == {"membrane", "spike_count", "leaky_trace", "last_spike", "leak_correction"}
    assert set(activity["out"]) == {"membrane"}
    np.testing.assert_allclose(activity["out"]["membrane"] / 8, outputs, rtol=1e-6)
    trains = ksbp.SpikingRNN(ksbp.SequentialCell(rnn.cell.cells[:1]), return_sequences=True)(spikes()).numpy()
    np.testing.assert_array_equal(activity["conv"]["spike_count"], trains.sum(1))


def test_what_is_not_affine_is_refused_by_name():
    pooled = ksbp.PoolingCell(keras.layers.MaxPooling2D(2, name="the_pool"))
    with pytest.raises(ValueError, match="the_pool.*MaxPooling2D"):
        ksbp.SpikingRNN(pooled)(spikes())
    assert ksbp.SpikingRNN(pooled, gradient="bptt")(spikes()).shape == (3, 2, 2, 2)
    for layer in (
        keras.layers.Dense(4, activation="relu"),
        keras.Sequential([keras.layers.Dense(4), keras.layers.ReLU()]),
        keras.layers.LayerNormalization(),
    ):
        with pytest.raises(ValueError, match=layer.name):
            ksbp.SpikingRNN(ksbp.LIFCell(layer))(spikes())


def test_a_bias_acts_at_each_step():
    """accumulated = bptt for a readout, bias included (d out / d bias = 1)."""
    x = spikes().reshape(3, 8, 32)
    results = []
    for gradient in GRADIENTS:
        cell = ksbp.ReadoutCell(keras.layers.Dense(3, bias_initializer="ones", kernel_initializer="ones"), beta=0.9)
        results.append(outputs_and_gradients(ksbp.SpikingRNN(cell, gradient=gradient), x))
    for other in results[1:]:
        assert_all_close(results[0], other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("beta", [0.5, 0.99, 0.99999, 1 - 1e-7, 1.0])
def test_the_leak_of_a_readout_is_differentiated_if_asked_for(beta):
    """Its mean over the steps of each sample; also of a leak that float32 can hardly tell from none."""
    mask = np.arange(6) < np.array([[6], [4]])
    for differentiated in (False, True):
        cell = ksbp.ReadoutCell(keras.layers.Dense(1, use_bias=False), beta, differentiate_leak=differentiated)
        x = tf.ones((2, 6, 1))
        layer = ksbp.SpikingRNN(cell)
        layer.build(x.shape)
        layer.set_weights([np.ones((1, 1))])
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x, mask=mask)
        means = [
            np.mean(beta ** np.arange(1, steps + 1.0)) / steps if differentiated else 1 / steps for steps in (6, 4)
        ]
        np.testing.assert_allclose(tape.gradient(outputs, x)[..., 0], mask * np.array(means)[:, None], rtol=1e-6)


# --- functions that are traced before anybody asks for a gradient -----------------------------------------------------


@pytest.mark.parametrize("sequences", slow_except([True, False], False))
@pytest.mark.parametrize(("gradient", "neuron"), _some("accumulated", "bptt"))
def test_a_function_traced_before_the_tape(gradient, neuron, sequences):
    """TensorFlow does not trace a function anew for a tape that comes later: the gradient must be right even so."""
    rnn = conv_network(neuron=neuron, gradient=gradient, return_sequences=sequences)
    mask = np.random.default_rng(2).uniform(size=(3, 8)) < 0.7
    x = tf.constant(spikes())
    traced = tf.function(lambda x: rnn(x, mask=mask))
    traced(x)
    watched = [x, *[v.value for v in rnn.trainable_weights]]

    def gradients(function):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(function(x) ** 2)
        return [g.numpy() for g in tape.gradient(loss, watched)]

    expected = gradients(lambda x: rnn(x, mask=mask))
    assert all(np.abs(g).max() > 0 for g in expected)
    assert_all_close(gradients(traced), expected)

    @tf.function
    def symbolic(x):
        return tf.gradients(tf.reduce_sum(rnn(x, mask=mask) ** 2), [x, *watched[1:]])

    assert_all_close([g.numpy() for g in symbolic(x)], expected)


@pytest.mark.parametrize("gradient", ["accumulated", "bptt"])
def test_a_stateless_call_traced_before_the_tape(gradient):
    """Its weights are tensors, and those of the model are others."""
    images = keras.Input((4,))
    encoded = ksbp.ConstantEncoder(6)(keras.layers.Dense(5)(images))
    cell = ksbp.LIFCell(keras.layers.Dense(3), surrogate="atan")
    model = keras.Model(images, ksbp.SpikingRNN(cell, gradient=gradient)(encoded))
    x = tf.constant(np.random.default_rng(0).uniform(0, 2, (7, 4)), tf.float32)
    weights = [tf.random.stateless_normal(v.shape, (1, i)) for i, v in enumerate(model.trainable_variables)]
    still = [v.value for v in model.non_trainable_variables]

    def gradients(function):
        with tf.GradientTape() as tape:
            tape.watch([x, *weights])
            loss = tf.reduce_sum(function(weights, x) ** 2)
        return tape.gradient(loss, [x, *weights])

    call = lambda weights, x: model.stateless_call(weights, still, x)[0]  # noqa: E731
    traced = tf.function(call)
    traced(weights, x)
    expected = gradients(call)
    assert all(np.abs(g).max() > 0 for g in expected)
    assert_all_close(gradients(traced), expected)


def test_infinite_gradients_in_front_are_left_to_the_optimizer():
    """The inputs are verified, the gradients are not: a loss scale that is too large is halved, step by step."""
    with tf.GradientTape() as tape:
        sequences = tf.ones((2, 5, 3))
        tape.watch(sequences)
        rnn = ksbp.SpikingRNN(ksbp.ReadoutCell(keras.layers.Dense(4)))
        loss = tf.reduce_sum(rnn(sequences)) * np.inf
    assert not np.isfinite(tape.gradient(loss, sequences)).all()

    inputs = keras.Input((6,))
    currents = ksbp.ConstantEncoder(4)(keras.layers.Dense(5)(inputs))
    readout = ksbp.ReadoutCell(keras.layers.Dense(3, dtype="mixed_float16"))
    model = keras.Model(inputs, ksbp.SpikingRNN(readout)(currents))
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=2.0**40)
    model.compile(scaled, "mse")
    model.fit(np.ones((8, 6), "float32"), np.ones((8, 3), "float32"), batch_size=2, verbose=0)
    assert float(scaled.dynamic_scale) < 2.0**40 and np.isfinite(model.layers[1].kernel).all()


def test_random_layers_draw_in_training_only():
    """Keras' augmentation of images is in training mode unless told otherwise; `observe` and a step tell it."""
    shift = keras.layers.RandomTranslation(0.4, 0.4, fill_mode="constant", seed=0)
    cell = ksbp.SequentialCell([shift, keras.layers.Flatten(), ksbp.ReadoutCell(keras.layers.Dense(3))])
    layer = ksbp.SpikingRNN(cell, gradient="bptt", return_sequences=True)
    x = np.random.default_rng(0).uniform(0, 1, (2, 4, 8, 8, 1)).astype("float32")
    expected = layer(x)
    assert np.abs(layer(x, training=True) - expected).max() > 0.1
    np.testing.assert_allclose(layer.observe(x)[0], expected, rtol=1e-6)
    state = [{"membrane": tf.zeros((2, 3))}]
    np.testing.assert_allclose(cell.step(tf.constant(x[:, 0]), state)[0], expected[:, 0], rtol=1e-5)


@pytest.mark.parametrize("name", ["silence", "count", "keep"])
def test_a_further_state_of_a_name_within_a_window_is_refused(name):
    class Further(ksbp.LIFCell):
        @property
        def carried_shapes(self):
            return {**super().carried_shapes, name: self.output_shape_of_step}

    layer = ksbp.SpikingRNN(Further(keras.layers.Dense(3)))
    with pytest.raises(ValueError, match=rf"`carried_shapes` of the cell .*Received: \['{name}'\]"):
        layer(np.ones((2, 4, 5), "float32"))


@pytest.mark.parametrize(("gradient", "neuron"), _some("bounded", "accumulated-triangle-subtract", "bptt-atan-zero"))
def test_a_stateful_layer_traced_before_the_tape(gradient, neuron):
    """The derivative is computed later than the outputs, but from the states that those had."""
    rnn = conv_network(neuron=neuron, gradient=gradient)
    x = spikes()
    stateful = same_network(rnn, stateful=True)
    traced = tf.function(lambda x: stateful(x))
    traced(x)
    start = [state.numpy() for state in stateful.states]
    expected = outputs_and_gradients(rnn, x, initial_state=[tf.constant(state) for state in start])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(traced(x) ** 2)
    assert_all_close([g.numpy() for g in tape.gradient(loss, stateful.trainable_weights)], expected[1:])


@pytest.mark.parametrize(("gradient", "neuron"), DERIVATIVES)
def test_inference_in_a_graph_keeps_no_record(gradient, neuron):
    """What a derivative needs is computed if one is asked for, and not before."""
    rnn = conv_network(neuron=neuron, gradient=gradient)
    graph = tf.function(lambda x: rnn(x)).get_concrete_function(tf.TensorSpec((3, 8, 4, 4, 2))).graph
    (loop,) = [op for op in graph.get_operations() if op.type in ("While", "StatelessWhile")]
    carried = [tensor for tensor in loop.outputs if tensor.dtype == tf.float32]
    # the last output, the sums of outputs and inputs, the sequences; and one potential for each layer of neurons
    assert len(carried) == 4 + len(rnn.cell.neurons())


def kept_at_each_step(cell, units=32):
    """What a gradient through the loop keeps of a step, by shape, dtype, and whether the step computed it.

    A weight that is read, or given to all steps, is no copy.
    """
    rnn = ksbp.SpikingRNN(
        ksbp.SequentialCell([cell, ksbp.ReadoutCell(keras.layers.Dense(3, use_bias=False))]), gradient="bptt"
    )
    rnn.build((10, 7, units))

    @tf.function
    def gradients(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(rnn(x, training=True) ** 2)
        return tape.gradient(loss, rnn.trainable_variables)

    graph = gradients.get_concrete_function(tf.TensorSpec((10, 7, units))).graph
    kept = {}
    for function in graph.as_graph_def().library.function:
        if "while_body" in function.signature.name:
            for op in function_def_to_graph(function).get_operations():
                if op.type == "TensorListPushBack":
                    tensor = op.inputs[1]
                    while tensor.op.type in ("Identity", "StopGradient", "IdentityN"):
                        tensor = tensor.op.inputs[tensor.value_index]
                    if tensor.op.type != "ReadVariableOp" and tensor.dtype != tf.resource:
                        kept[tensor.name] = (tuple(tensor.shape), tensor.dtype.name, tensor.op.type != "Placeholder")
    return list(kept.values())


@pytest.mark.parametrize(("arguments", "arrays"), [
    ({}, 2), slow(({"reset_mechanism": "subtract"}, 2)), slow(({"beta": 1.0}, 2)), ({"synaptic_beta": 0.9}, 3),
    ({"surrogate": "atan"}, 3),
], ids=["zero", "subtract", "no leak", "current", "surrogate"])  # fmt: skip
def test_a_gradient_through_the_loop_keeps_no_record(arguments, arrays):
    """Its inputs and outputs, for the weights; with a surrogate the potential; a synaptic current. Not the counts."""
    kept = kept_at_each_step(ksbp.LIFCell(keras.layers.Dense(32, use_bias=False), **arguments))
    assert len([shape for shape, dtype, _ in kept if (shape, dtype) == ((10, 32), "float32")]) == arrays


def test_a_gradient_through_the_loop_keeps_no_weights():
    """Mixed precision casts them: once, not at each step."""
    for dtype in ("mixed_bfloat16", "float32"):
        kept = kept_at_each_step(ksbp.LIFCell(keras.layers.Dense(32, use_bias=False, dtype=dtype), surrogate="atan"))
        assert not [shape for shape, _, computed in kept if computed and shape[0] == 32]
        assert [shape for shape, _, computed in kept if computed and shape == (10, 32)]


def test_no_gradient_from_returned_states():
    for gradient in GRADIENTS:
        rnn = conv_network(gradient=gradient, return_state=True)
        with tf.GradientTape() as tape:
            _, *states = rnn(spikes(), training=True)
            loss = tf.add_n([tf.reduce_sum(state) for state in states])
        assert tape.gradient(loss, rnn.trainable_weights) == [None] * len(rnn.trainable_weights)


@pytest.mark.parametrize("dtype", [tf.complex64, tf.string])
def test_sequences_of_no_real_dtype_are_refused(dtype):
    """A cast would drop the imaginary part."""
    layer = ksbp.SpikingRNN(ksbp.LIFCell(keras.layers.Dense(3)))
    sequences = tf.cast(tf.ones((2, 5, 4)), dtype) if dtype.is_complex else tf.fill((2, 5, 4), "1")
    with pytest.raises(
        TypeError, match=f"`sequences` must be of a real dtype. Received: sequences of dtype {dtype.name}"
    ):
        layer(sequences)


def test_an_encoder_in_a_cell_is_refused():
    inside = ksbp.LIFCell(keras.Sequential([ksbp.PoissonEncoder(3)]))
    for part in (ksbp.ConstantEncoder(3), ksbp.DeltaEncoder(0.1), inside):
        cell = ksbp.SequentialCell([part, ksbp.ReadoutCell(keras.layers.Dense(3))])
        with pytest.raises(ValueError, match="`cell` must not hold an encoder.*: call it before the SpikingRNN"):
            ksbp.SpikingRNN(cell)


def test_a_gradient_that_is_set_later_is_checked():
    rectified = keras.layers.Dense(3, activation="relu")
    layer = ksbp.SpikingRNN(ksbp.LIFCell(rectified), "bptt")
    layer.build((None, None, 4))
    with pytest.raises(ValueError, match="`gradient` must be one of"):
        layer.gradient = "btpp"
    with pytest.raises(ValueError, match="affine"):
        layer.gradient = "accumulated"
    assert layer.gradient == layer.get_config()["gradient"] == "bptt"


def test_a_gradient_that_is_set_later_is_used():
    x = np.random.default_rng(0).random((2, 9, 4)).astype("float32")
    cell = ksbp.LIFCell(keras.layers.Dense(3, kernel_initializer=keras.initializers.RandomUniform(0, 1, seed=0)), 0.8)

    def gradients(layer):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x) ** 2)
        return tape.gradient(loss, cell.synapse.kernel).numpy()

    layer = ksbp.SpikingRNN(cell, "accumulated")
    accumulated = gradients(layer)
    layer.gradient = "bptt"
    found = gradients(layer)
    assert layer.gradient == layer.get_config()["gradient"] == "bptt"
    np.testing.assert_array_equal(found, gradients(ksbp.SpikingRNN(cell, "bptt")))
    assert np.abs(found - accumulated).max() > 1e-3
