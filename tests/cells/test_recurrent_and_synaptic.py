"""Neurons with a synaptic current, and recurrent ones: against the oracle, and all that is around them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from examples import store_recall
from keras_spiking_bp.gradients.slopes import mean_decay, mean_gain
from keras_spiking_bp.gradients.surrogates import ATan, FastSigmoid, Triangle
from keras_spiking_bp.rnn.observe import traces
from tests.networks import build_rnn
from tests.oracle import assert_close, compare, hand_masks, in_numpy, node, plain, safe_case
from tests.reference import Simulation
from tests.slow import slow

TOLERANCE = 1e-5  # of the largest entry


def synaptic(beta):
    network, shapes = plain(beta)
    return {**network, "synaptic_beta": 0.6}, shapes


def recurrent(beta):
    """A convolution with a convolution back, and a fully connected layer, all to all."""
    return {
        "beta": beta,
        "input_shape": [6, 6, 2],
        "nodes": [
            node("conv", "LIF", 1.0, ("in", "conv", "k", 1, 1), ("conv", "conv", "kb", 1, 1)),
            node("fc", "LIF", 0.9, ("conv", "dense", "w1"), ("fc", "dense", "wb")),
            node("out", "readout", None, ("fc", "dense", "w2")),
        ],
    }, {"k": (3, 3, 2, 3), "kb": (3, 3, 3, 3), "w1": (108, 12), "wb": (12, 12), "w2": (12, 4)}


def both(beta):
    network, shapes = recurrent(beta)
    return {**network, "synaptic_beta": 0.6}, shapes


def case(make, surrogate, reset, beta=0.8, num_steps=8, **of_simulation):
    if surrogate is None and make is not synaptic:
        surrogate = FastSigmoid()  # which a RecurrentCell gives to neurons without one
    given = None if surrogate is None else in_numpy(surrogate)
    return safe_case(make, beta, num_steps, reset=reset, surrogate=given, kappa=2.0, **of_simulation)


@pytest.mark.parametrize(("make", "gradient", "surrogate", "reset"), [
    *((synaptic, rule, None, reset) for rule in ("accumulated", "bounded", "bptt") for reset in ("zero", "subtract")),
    *((synaptic, rule, Triangle(), reset) for rule in ("accumulated", "bptt") for reset in ("zero", "subtract")),
    (recurrent, "bptt", None, "zero"), (recurrent, "bptt", Triangle(), "subtract"),
    (both, "bptt", None, "subtract"), (both, "bptt", Triangle(), "zero"),
])  # fmt: skip
def test_against_the_oracle(make, gradient, surrogate, reset):
    network, weights, inputs, simulation = case(make, surrogate, reset)
    rnn, names = build_rnn(network, weights, reset=reset, neuron={"surrogate": surrogate}, gradient=gradient)
    steep = surrogate is None and make is not synaptic  # 50 times the rounding of a potential
    compare(rnn, names, inputs, simulation, gradient, tolerance=3e-5 if steep else TOLERANCE)
    for name, activity in rnn.observe(inputs)[1].items():
        if "spike_count" in activity:
            np.testing.assert_array_equal(activity["spike_count"], simulation.spikes[name].sum(1))


@pytest.mark.parametrize(("make", "gradient", "surrogate"), [
    (synaptic, "accumulated", None), (synaptic, "accumulated", ATan()), (both, "bptt", ATan()),
])  # fmt: skip
def test_masked_steps_are_left_out(make, gradient, surrogate):
    network, weights, inputs, simulation = case(make, surrogate, "zero")
    rnn, names = build_rnn(network, weights, neuron={"surrogate": surrogate}, gradient=gradient)
    mask = np.insert(np.ones((2, 8), bool), [2, 5, 5], False, axis=1)
    longer = np.insert(inputs, [2, 5, 5], 1.0, axis=1)
    with tf.GradientTape() as tape:
        outputs = rnn(longer, mask=mask)
        loss = tf.reduce_sum(outputs**2)
    assert_close(outputs, simulation.outputs, "outputs")
    expected = getattr(simulation, f"grad_{gradient}")(2 * simulation.outputs)
    for name, actual in zip(names, tape.gradient(loss, rnn.trainable_weights), strict=True):
        assert_close(actual, expected[name], name, TOLERANCE)


@pytest.mark.parametrize(("make", "gradient", "how"), [
    (synaptic, "accumulated", "unrolled"),
    slow((synaptic, "accumulated", "xla")),
    (both, "bptt", "unrolled"),
    slow((both, "bptt", "xla")),
    (both, "bptt", "each step"),
])  # fmt: skip
def test_loops_of_other_kinds(make, gradient, how):
    network, weights, inputs, _ = case(make, ATan(), "zero")
    results = []
    for this in ("as it is", how):
        arguments = {"unroll": this == "unrolled", "return_sequences": this == "each step"}
        rnn, _ = build_rnn(network, weights, neuron={"surrogate": ATan()}, gradient=gradient, **arguments)

        def gradients(rnn=rnn, last=this == "each step"):
            with tf.GradientTape() as tape:
                outputs = rnn(inputs)
                loss = tf.reduce_sum((outputs[:, -1] if last else outputs) ** 2)
            return tape.gradient(loss, rnn.trainable_weights)

        as_graph = tf.function(gradients, jit_compile=this == "xla")
        results.append(as_graph() if this in ("xla", "each step") else gradients())
    for a, b in zip(*results, strict=True):
        assert_close(b, a, tolerance=TOLERANCE)


def test_dropout_comes_back_too(monkeypatch):
    def keep(rng):
        return {"fc": (rng.random((2, 12)) >= 0.5) / 0.5}

    network, weights, inputs, simulation = case(both, ATan(), "zero", keep=keep)
    rnn, names = build_rnn(network, weights, dropout={"fc": 0.5}, neuron={"surrogate": ATan()}, gradient="bptt")
    hand_masks(rnn, simulation, monkeypatch)
    compare(rnn, names, inputs, simulation, "bptt", training=True, tolerance=TOLERANCE)


def test_low_precision_synapses():
    """All in eighths: exact in bfloat16; a gradient is rounded to 8 bits."""
    network, shapes = both(0.75)
    network["synaptic_beta"] = 0.5
    rng = np.random.default_rng(0)
    weights = {name: rng.integers(-2, 4, shape).astype("float32") / 8 for name, shape in shapes.items()}
    inputs = rng.integers(0, 2, (2, 5, 6, 6, 2)).astype("float32")
    simulation = Simulation(network, weights, inputs, surrogate=in_numpy(ATan()))
    rnn, names = build_rnn(network, weights, policy="mixed_bfloat16", neuron={"surrogate": ATan()}, gradient="bptt")
    compare(rnn, names, inputs, simulation, "bptt", tolerance=3e-2)


@pytest.mark.parametrize("synaptic_beta", [1e-3, 0.5, 0.999, 0.9999999, 1.0])
def test_the_mean_gain_is_the_mean(synaptic_beta):
    steps = np.array([1.0, 2.0, 7.0, 100.0], "float32")
    expected = [np.mean([sum(synaptic_beta**k for k in range(t)) for t in range(1, int(n) + 1)]) for n in steps]
    np.testing.assert_allclose(mean_gain(synaptic_beta, tf.constant(steps)), expected, rtol=1e-6)
    np.testing.assert_allclose(mean_gain(synaptic_beta, steps.astype("int32")), expected, rtol=1e-6)
    left = [np.mean([synaptic_beta**k for k in range(1, int(n) + 1)]) for n in steps]
    np.testing.assert_allclose(mean_decay(synaptic_beta, tf.constant(steps)), left, rtol=1e-6)
    assert float(mean_decay(synaptic_beta, 7)) == pytest.approx(left[2], rel=1e-6)


@pytest.mark.parametrize("synaptic_beta", [None, 0.5, 0.9])
def test_on_totals_and_step_by_step_a_count_depends_as_much_on_its_input(synaptic_beta):
    """By both rules, what comes after the last spike of a neuron has no effect."""
    found = {}
    for gradient in ("accumulated", "bptt"):
        dense = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
        layer = ksbp.SpikingRNN(ksbp.LIFCell(dense, beta=1.0, synaptic_beta=synaptic_beta), gradient)
        x = tf.constant([[[0.6], [0.6], [0.0], [0.0]], [[0.6], [0.3], [0.6], [0.3]], [[0.1], [0.1], [0.0], [0.0]]])
        with tf.GradientTape() as tape:
            tape.watch(x)
            counts = 4 * layer(x)
        found[gradient] = tf.reduce_sum(tape.gradient(counts, x), (1, 2))
    np.testing.assert_allclose(found["accumulated"], found["bptt"], rtol=1e-6)
    if synaptic_beta == 0.5:  # the first fires at step 2 only, from 1 + 0.5 of the first input and 1 of the second
        assert found["bptt"][0] == 2.5
    assert found["bptt"][2] == 0


# --- states -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stateful", [False, True])
def test_a_window_in_chunks(stateful):
    network, weights, inputs, simulation = case(both, ATan(), "zero")
    rnn, _ = build_rnn(network, weights, neuron={"surrogate": ATan()}, gradient="bptt", return_state=not stateful)
    if stateful:
        rnn = ksbp.SpikingRNN(rnn.cell, "bptt", stateful=True)
        rnn.build(inputs.shape)
        rnn(inputs[:, :3])
        output = rnn(inputs[:, 3:])
    else:
        _, *states = rnn(inputs[:, :3])
        assert [tuple(state.shape[1:]) for state in states] == [(6, 6, 3)] * 3 + [(12,)] * 3 + [(4,), ()]
        output, *states = rnn(inputs[:, 3:], initial_state=states)
        shapes = rnn.compute_output_shape(inputs.shape)[1:]
        assert [tuple(shape) for shape in shapes] == [tuple(state.shape) for state in states]
    np.testing.assert_allclose(output, simulation.outputs, atol=1e-5)


# --- around it --------------------------------------------------------------------------------------------------------


def small_model():
    hidden = ksbp.LIFCell(keras.layers.Dense(12), beta=0.9, synaptic_beta=0.5, surrogate="atan", name="hidden")
    cells = [
        ksbp.RecurrentCell(hidden, keras.layers.Dense(12)),
        ksbp.ReadoutCell(keras.layers.Dense(3), name="readout"),
    ]
    layer = ksbp.SpikingRNN(ksbp.SequentialCell(cells), gradient="bptt", name="time")
    return keras.Sequential([keras.Input((10, 6)), layer])


def some_spikes():
    return (np.random.default_rng(0).random((8, 10, 6)) < 0.5).astype("float32")


def test_it_is_saved_and_cloned(tmp_path):
    model, x = small_model(), some_spikes()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x), model(x))
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone(x), model(x))
    config = loaded.get_layer("time").cell.cells[0].cell.get_config()
    assert config["synaptic_beta"] == 0.5


def test_operations_count_what_comes_back_in_the_step_after():
    model, x = small_model(), some_spikes()
    run = ksbp.analysis.run(model, x, verbose=0)
    trace = traces(model, x)["hidden"]["spikes"]
    assert trace.any()
    np.testing.assert_array_equal(run.spikes["hidden"], trace.sum(-1))
    np.testing.assert_array_equal(run.operations["hidden -> hidden"][:, 1:], 12 * trace.sum(-1)[:, :-1])
    assert not run.operations["hidden -> hidden"][:, 0].any()
    np.testing.assert_array_equal(run.operations["hidden -> readout"], 3 * trace.sum(-1))
    assert run.updates == 12 + 12 + 3  # potentials, currents, the readout
    rows = {row["connection"]: row for row in ksbp.analysis.operations(run).rows}
    assert rows["hidden -> hidden"]["synapses"] == 144


def test_batch_normalization():
    """Under `bptt` too the statistics are those of the mean currents."""
    norm = keras.layers.BatchNormalization(momentum=0.5)
    synapse = keras.Sequential([keras.layers.Dense(12, use_bias=False), norm])
    cell = ksbp.LIFCell(synapse, surrogate="atan", name="hidden")
    layer = ksbp.SpikingRNN(ksbp.RecurrentCell(cell, keras.layers.Dense(12)), gradient="bptt")
    x = some_spikes()
    layer.build(x.shape)
    norm.moving_mean.assign(np.full(12, 0.25))
    layer(x, training=True)
    means = x.mean(1) @ synapse.layers[0].kernel.numpy()
    np.testing.assert_allclose(norm.moving_mean, 0.5 * 0.25 + 0.5 * means.mean(0), atol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, 0.5 + 0.5 * means.var(0), rtol=1e-4)


# --- refusals ---------------------------------------------------------------------------------------------------------


def lif(units=3, **kwargs):
    return ksbp.LIFCell(keras.layers.Dense(units), **kwargs)


def loop(back=3):
    return ksbp.RecurrentCell(lif(), keras.layers.Dense(back), name="loop")


@pytest.mark.parametrize(("call", "error", "argument"), [
    (lambda: ksbp.SpikingRNN(ksbp.SequentialCell([loop()])), ValueError, "'loop'"),
    (lambda: lif(synaptic_beta=1.5), ValueError, "synaptic_beta"),
    (lambda: ksbp.RecurrentCell(lif(), 3), TypeError, "recurrent"),
    (lambda: ksbp.SpikingRNN(loop(back=4), "bptt").build((None, 5, 2)), ValueError, "recurrent"),
    (lambda: ksbp.ann_counterpart(small_model()), TypeError, "recurrent"),
])  # fmt: skip
def test_refused(call, error, argument):
    with pytest.raises(error, match=argument):
        call()


@pytest.mark.slow
def test_memory_in_the_way_back():
    """A task: the pattern is long forgotten by each neuron alone when it is asked for."""
    (row,) = store_recall.main(["--samples", "1200", "--epochs", "6"])
    assert row["feed-forward"] < 0.65  # of two
    assert row["recurrent"] > 0.95
