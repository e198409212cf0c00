"""`SpikingRNN`: time, states, masks, shapes; the same network in every form."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

import keras_spiking_bp as ksbp
from keras_spiking_bp.gradients.tracing import could_possibly_record
from keras_spiking_bp.rnn.derivative import take_statistics
from tests.slow import slow, slow_except

GRADIENTS = ["accumulated", "bptt"]


#: `gradient`, and the arguments of the neurons.
DERIVATIVES = {
    "accumulated": ("accumulated", {}),
    "bptt": ("bptt", {}),
    "bounded": ("accumulated", {"surrogate": "bounded"}),
    "triangle": ("accumulated", {"surrogate": "triangle", "reset_mechanism": "subtract"}),
    "atan": ("bptt", {"surrogate": "atan"}),
}
#: Each derivative; each end of the network with a rule on totals, and `bptt`.
ENDS = pytest.mark.parametrize(("gradient", "sequences", "readout"), [
    ("accumulated", True, True), ("bounded", True, False), ("triangle", False, True), ("accumulated", False, False),
    ("bptt", True, False), ("atan", False, True), slow(("bptt", True, True)), slow(("atan", False, False)),
])  # fmt: skip
BINARY = 0.75  # a leak, and weights in eighths below, whose arithmetic is exact in binary: results must be equal


def exact_weights(layer, seed=0):
    rng = np.random.default_rng(seed)
    for variable in layer.trainable_weights:
        variable.assign(rng.integers(-6, 9, variable.shape) / 8)


def conv_network(readout=True, gradient="accumulated", **rnn_arguments):
    gradient, neuron = DERIVATIVES[gradient]
    cells = [
        ksbp.LIFCell(keras.layers.Conv2D(3, 3, padding="same", use_bias=False), beta=BINARY, name="conv", **neuron),
        ksbp.PoolingCell(keras.layers.AveragePooling2D(2), name="pool", **neuron),
        keras.layers.Flatten(),
        ksbp.LIFCell(keras.layers.Dense(6, use_bias=False), beta=BINARY, name="fc", **neuron),
    ]
    if readout:
        cells.append(ksbp.ReadoutCell(keras.layers.Dense(4, use_bias=False), beta=BINARY, name="out"))
    rnn = ksbp.SpikingRNN(ksbp.SequentialCell(cells), gradient, **rnn_arguments)
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


def outputs_like_graph(rnn, x):
    with tf.GradientTape() as tape:
        outputs = rnn(x)
        loss = tf.reduce_sum(outputs**2)
    return [outputs, *tape.gradient(loss, rnn.trainable_weights)]


@ENDS
def test_the_loop_equals_the_unrolled_loop(gradient, sequences, readout):
    rnn = conv_network(readout, gradient, return_sequences=sequences)
    x = spikes()
    expected = outputs_and_gradients(rnn, x)
    assert_all_close(outputs_and_gradients(same_network(rnn, unroll=True), x), expected)
    assert_all_close(outputs_and_gradients(rnn, x, training=True), expected)
    assert_all_close([o.numpy() for o in tf.function(outputs_like_graph)(rnn, x)], expected)


@pytest.mark.parametrize("gradient", slow_except(DERIVATIVES, "triangle", "bptt"))
def test_xla(gradient):
    rnn, x = conv_network(gradient=gradient, return_sequences=True), spikes(steps=4)
    actual = tf.function(outputs_like_graph, jit_compile=True)(rnn, tf.constant(x))
    assert_all_close([o.numpy() for o in actual], outputs_and_gradients(rnn, x), rtol=1e-5, atol=1e-5)


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
def test_no_gradient_into_the_initial_state_and_from_the_last(gradient, readout):
    rnn = conv_network(readout, gradient=gradient, return_state=True)
    states = [state + 0.25 for state in rnn.get_initial_state(3)]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(states)
        outputs, *after = rnn(spikes(), initial_state=states)
        losses = tf.reduce_sum(outputs), tf.add_n([tf.reduce_sum(state) for state in after])
    assert tape.gradient(losses[0], states) == [None] * len(states)
    assert tape.gradient(losses[1], rnn.trainable_weights) == [None] * len(rnn.trainable_weights)


@ENDS
def test_masked_steps_are_skipped(gradient, readout, sequences):
    """A padded batch gives, sample by sample, what the samples give alone: outputs and gradients."""
    rnn = conv_network(readout, gradient)
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


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_outputs_that_a_mask_makes_zero_have_no_gradient(gradient):
    rnn = conv_network(gradient=gradient, return_sequences=True)
    x, mask = spikes(), np.random.default_rng(2).uniform(size=(3, 8)) < 0.7
    weight = np.random.default_rng(3).normal(size=(3, 8, 4)).astype("float32")

    def gradients(layer, weight):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x, mask=mask) * weight)
        return tape.gradient(loss, layer.trainable_weights)

    zeroed = same_network(rnn, zero_output_for_mask=True)
    assert not zeroed(x, mask=mask).numpy()[~mask].any()
    actual = gradients(zeroed, weight)
    assert_all_close(actual, gradients(rnn, weight * mask[..., None]), rtol=1e-5, atol=1e-5)
    repeated = gradients(rnn, weight)  # a repeated output is that of the step before
    assert any(np.abs(a - b).max() > 0.1 for a, b in zip(actual, repeated, strict=True))


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
    "batch normalisation": lambda: keras.layers.BatchNormalization(trainable=False),
    "low precision": lambda: keras.layers.Flatten(dtype="mixed_bfloat16"),
}


@pytest.mark.parametrize("layer", BEHIND_THE_SPIKES)
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_training_gives_the_outputs_and_states_of_the_loop(gradient, layer):
    cell = ksbp.SequentialCell([ksbp.LIFCell(keras.layers.Dense(4), threshold=0.5), BEHIND_THE_SPIKES[layer]()])
    rnn = ksbp.SpikingRNN(cell, gradient=gradient, return_state=True)
    rng = np.random.default_rng(0)
    _, *states = rnn(rng.integers(0, 2, (2, 11, 3)).astype("float32"), training=True)
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


class AlwaysDrops(keras.layers.Layer):
    """Dropout in inference too."""

    def __init__(self, rate, seed):
        super().__init__()
        self.drop = keras.layers.Dropout(rate, seed=seed)

    def call(self, inputs):
        return self.drop(inputs, training=True)


@pytest.mark.parametrize("first", [
    lambda: keras.layers.Dense(4, dtype="mixed_bfloat16"),
    lambda: keras.Sequential([keras.layers.Dense(4), keras.layers.BatchNormalization()]),
], ids=["low precision", "normalised"])  # fmt: skip
def test_a_random_synapse_draws_anew_at_each_step_and_in_each_call(first):
    noisy = keras.Sequential([AlwaysDrops(0.5, seed=0), keras.layers.Dense(20, kernel_initializer="ones")])
    cell = ksbp.SequentialCell([ksbp.LIFCell(first()), ksbp.ReadoutCell(noisy, beta=1.0)])
    layer = ksbp.SpikingRNN(cell, gradient="bptt", return_sequences=True)
    inputs = np.random.default_rng(0).uniform(0, 9, (2, 8, 5)).astype("float32")
    traced = tf.function(layer)
    outputs = [traced(inputs).numpy() * np.arange(1, 9)[:, None] for _ in range(2)]
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


def watched_steps(layer, monkeypatch):
    """A list that gets an entry at each step of the cell: whether a tape records it."""
    recorded, run = [], layer.cell.run

    def watched(inputs, states, block):
        recorded.append(could_possibly_record())
        return run(inputs, states, block)

    monkeypatch.setattr(layer.cell, "run", watched)
    return recorded


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_tape_records_no_step_of_a_rule_on_totals(gradient, monkeypatch):
    """In a custom training loop without `tf.function` too, memory does not grow with the number of steps."""
    layer = conv_network(gradient=gradient, block_size=2)
    recorded = watched_steps(layer, monkeypatch)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(spikes()) ** 2)
    assert recorded == [gradient == "bptt"] * 4
    assert all(np.abs(g).max() > 0 for g in tape.gradient(loss, layer.trainable_weights))


def test_go_backwards():
    rnn = conv_network(return_sequences=True)
    backwards = same_network(rnn, go_backwards=True)
    np.testing.assert_array_equal(backwards(spikes()), rnn(spikes()[:, ::-1]))
    mask = np.random.default_rng(2).uniform(size=(3, 8)) < 0.7
    outputs = backwards(spikes(), mask=mask)
    np.testing.assert_array_equal(outputs, rnn(spikes()[:, ::-1], mask=mask[:, ::-1]))
    np.testing.assert_array_equal(outputs._keras_mask, mask[:, ::-1])


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


def test_integer_spikes_stay_one_byte_each():
    """In a training step no float tensor has all steps, but where they are one block."""
    rnn = conv_network(gradient="accumulated", block_size=2)

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


def test_plain_keras_rnn_trains():
    """The derivative there is bptt without leak correction: for beta = 1 the very same."""
    cell = ksbp.SequentialCell([
        ksbp.LIFCell(keras.layers.Dense(6, use_bias=False), beta=1.0),
        ksbp.ReadoutCell(keras.layers.Dense(3, use_bias=False), beta=1.0),
    ])  # fmt: skip
    x = spikes().reshape(3, 8, 32)
    ours = ksbp.SpikingRNN(cell, gradient="bptt")
    ours.build(x.shape)
    exact_weights(ours)
    expected = outputs_and_gradients(ours, x)
    with tf.GradientTape() as tape:
        outputs = keras.layers.RNN(cell)(x) / 8
        loss = tf.reduce_sum(outputs**2)
    assert_all_close([outputs, *tape.gradient(loss, cell.trainable_weights)], expected)


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


@pytest.mark.parametrize("gradient", slow_except(DERIVATIVES, "accumulated", "bptt"))
def test_a_function_traced_before_the_tape(gradient):
    """TensorFlow does not trace a function anew for a tape that comes later: the gradient must be right even so."""
    gradient, neuron = DERIVATIVES[gradient]
    cells = [ksbp.LIFCell(keras.layers.Dense(6), BINARY, **neuron), ksbp.ReadoutCell(keras.layers.Dense(4), BINARY)]
    rnn = ksbp.SpikingRNN(ksbp.SequentialCell(cells), gradient)
    x = tf.constant(spikes(steps=5).reshape(3, 5, 32))
    rnn.build(x.shape)
    exact_weights(rnn)
    mask = np.random.default_rng(2).uniform(size=(3, 5)) < 0.7
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
    np.testing.assert_allclose(cell.run(tf.constant(x[:, 0]), state)[0], expected[:, 0], rtol=1e-5)


@pytest.mark.parametrize("gradient", ["bounded", "atan"])
def test_a_stateful_layer_traced_before_the_tape(gradient):
    """The derivative is computed later than the outputs, but from the states that those had."""
    rnn = conv_network(gradient=gradient)
    x = spikes(steps=4)
    stateful = same_network(rnn, stateful=True)
    traced = tf.function(lambda x: stateful(x))
    traced(x)
    start = [state.numpy() for state in stateful.states]
    expected = outputs_and_gradients(rnn, x, initial_state=[tf.constant(state) for state in start])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(traced(x) ** 2)
    assert_all_close([g.numpy() for g in tape.gradient(loss, stateful.trainable_weights)], expected[1:])


@pytest.mark.parametrize("gradient", DERIVATIVES)
def test_inference_in_a_graph_keeps_no_record(gradient):
    """What a derivative needs is computed if one is asked for, and not before."""
    rnn = conv_network(gradient=gradient, block_size=2)
    graph = tf.function(lambda x: rnn(x)).get_concrete_function(tf.TensorSpec((3, 8, 4, 4, 2))).graph
    (loop,) = [op for op in graph.get_operations() if op.type in ("While", "StatelessWhile")]
    carried = [tensor for tensor in loop.outputs if tensor.dtype == tf.float32]
    # the sequences, and one potential for each layer of neurons
    assert len(carried) == 1 + len(rnn.cell.neurons())


def kept_at_each_step(cell, units=32):
    """What a gradient through the loop keeps of a step, by shape, dtype, and whether the step computed it.

    A weight that is read, or given to all steps, is no copy.
    """
    rnn = ksbp.SpikingRNN(
        ksbp.SequentialCell([cell, ksbp.ReadoutCell(keras.layers.Dense(3, use_bias=False))]), "bptt", block_size=1
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


def test_a_gradient_that_is_set_later():
    x = np.random.default_rng(0).random((2, 9, 4)).astype("float32")
    cell = ksbp.LIFCell(keras.layers.Dense(3, kernel_initializer=keras.initializers.RandomUniform(0, 1, seed=0)), 0.8)
    layer = ksbp.SpikingRNN(cell, "accumulated")
    accumulated = outputs_and_gradients(layer, x)[1]
    layer.gradient = "bptt"
    assert layer.get_config()["gradient"] == "bptt"
    by_steps = outputs_and_gradients(layer, x)[1]
    np.testing.assert_array_equal(by_steps, outputs_and_gradients(ksbp.SpikingRNN(cell, "bptt"), x)[1])
    assert np.abs(by_steps - accumulated).max() > 1e-3


@pytest.mark.parametrize("attached", [True, False])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_mask_goes_on_to_the_next_layer_whatever_the_global_policy(attached, policy):
    keras.config.set_dtype_policy(policy)
    mask = np.arange(8) < [[8], [5], [3]]
    x = np.where(mask[..., None], np.random.default_rng(0).integers(1, 3, (3, 8, 5)), 0).astype("float32")
    first = ksbp.SpikingRNN(ksbp.LIFCell(keras.layers.Dense(6, bias_initializer="ones")), return_sequences=True)
    second = ksbp.SpikingRNN(ksbp.ReadoutCell(keras.layers.Dense(2, bias_initializer="ones")))
    expected = [second(first(x[i : i + 1, : mask[i].sum()]))[0] for i in range(3)]
    outputs = first(keras.layers.Masking()(x)) if attached else first(x, mask=mask)
    np.testing.assert_array_equal(outputs._keras_mask, mask)
    np.testing.assert_allclose(second(outputs), expected, rtol=1e-5)
    if attached:
        model = keras.Sequential([keras.Input((8, 5)), keras.layers.Masking(), first, second])
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(model))
        again.set_weights(model.get_weights())
        np.testing.assert_allclose(again(x), expected, rtol=1e-5)


def test_dropout_in_plain_keras_rnn_is_held_over_time():
    dense = keras.layers.Dense(50, use_bias=False, kernel_initializer="ones")
    layer = keras.layers.RNN(ksbp.LIFCell(dense, dropout=0.5), return_sequences=True, stateful=True)
    x = np.ones((2, 6, 3), "float32")
    trains = layer(x, training=True).numpy()
    assert set(np.unique(trains)) == {0.0, 2.0}
    np.testing.assert_array_equal(trains, np.repeat(trains[:, :1], 6, axis=1))
    layer.reset_state()  # a call with another flag
    np.testing.assert_array_equal(layer(x), np.ones((2, 6, 50)))


class Further(ksbp.LIFCell):
    @property
    def carried_shapes(self):
        return {**super().carried_shapes, "silence": self.output_shape_of_step}


def rectified():
    return ksbp.LIFCell(keras.layers.Dense(3, activation="relu"))


def lif(**kwargs):
    return ksbp.SpikingRNN(ksbp.LIFCell(keras.layers.Dense(3, name="dense"), name="n"), **kwargs)


def with_states(change):
    layer = conv_network()
    return layer(spikes(), initial_state=change(layer.get_initial_state(3)))


def built_for(*sizes):
    cell = ksbp.LIFCell(keras.layers.Conv2D(3, 3), name="n")
    for size in sizes:
        ksbp.SpikingRNN(ksbp.SequentialCell([cell])).build((None, 3, size, size, 2))


def in_keras_rnn():
    normalised = keras.Sequential([keras.layers.Dense(3), keras.layers.BatchNormalization(name="norm")])
    return keras.layers.RNN(ksbp.LIFCell(normalised))(X, training=True)


def set_later():
    layer = ksbp.SpikingRNN(rectified(), "bptt")
    layer(X)
    layer.gradient = "accumulated"


X = np.ones((2, 5, 4), "float32")


@pytest.mark.parametrize(("call", "error", "argument"), [
    (lambda: ksbp.LIFCell(keras.layers.Dense(2), initial_membrane=1.0), ValueError, "initial_membrane"),
    (lambda: ksbp.LIFCell(keras.layers.Dense(2), signed=True), ValueError, "`reset_mechanism` must be 'subtract'"),
    (lambda: ksbp.SpikingRNN(ksbp.SequentialCell(2 * [lif().cell])).observe(X), ValueError, "'n'"),
    (lambda: with_states(lambda states: states[:2]), ValueError, "initial_state"),
    (lambda: with_states(lambda states: [*states[:3], tf.zeros((3, 5)), *states[4:]]), ValueError, "initial_state.3"),
    (lambda: with_states(lambda states: [*states[:3], tf.zeros((2, 4)), *states[4:]]), ValueError, "initial_state.3"),
    (lambda: built_for(8, 9), ValueError, "'n'"),
    (in_keras_rnn, ValueError, "'norm'"),
    (lambda: ksbp.SpikingRNN(Further(keras.layers.Dense(3)))(X), ValueError, "carried_shapes"),
    (lambda: ksbp.SpikingRNN(ksbp.SequentialCell([ksbp.ConstantEncoder(3), lif().cell])), ValueError, "cell"),
    (lambda: setattr(lif(), "gradient", "btpp"), ValueError, "gradient"),
    (set_later, ValueError, "gradient"),
])  # fmt: skip
def test_refused(call, error, argument):
    with pytest.raises(error, match=argument):
        call()
