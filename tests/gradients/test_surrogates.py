"""Surrogate derivatives: their values, whole networks against the NumPy oracle, and a silent layer that learns."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from docs.build import gradient_slopes
from keras_spiking_bp import surrogates
from keras_spiking_bp.gradients.surrogates import ATan, FastSigmoid, Sigmoid, Triangle
from tests.networks import build_rnn
from tests.oracle import (
    assert_close,
    compare,
    in_numpy,
    plain,
    safe_case,
    strided_residual,
)
from tests.pages import ROOT
from tests.reference import Simulation
from tests.slow import slow

ALL = [Triangle(), ATan(), Sigmoid(), FastSigmoid()]
OTHERS = [Triangle(0.5), ATan(3.0), Sigmoid(4.0), FastSigmoid(2.0)]
TOLERANCE = 1e-5  # of the largest entry


def both(surrogate, start=0.0):
    """The surrogate and the start of the potentials, for our neurons and for the oracle."""
    return {"surrogate": surrogate, "initial_membrane": start}, {"surrogate": in_numpy(surrogate), "start": start}


# --- the functions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("surrogate", [Triangle(), Triangle(0.5), ATan(), Sigmoid(), Sigmoid(4.0)], ids=repr)
def test_they_are_the_derivatives_of_steps_of_height_1(surrogate):
    u = np.arange(-2000, 2000, 0.01, dtype="float64")
    assert float(tf.reduce_sum(surrogate(tf.constant(u)))) * 0.01 == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("given", [None, "triangle", "atan", "sigmoid", "fast_sigmoid", *OTHERS], ids=repr)
def test_round_trips(given):
    for cell in (
        ksbp.LIFCell(keras.layers.Dense(2), surrogate=given),
        ksbp.PoolingCell(keras.layers.AveragePooling2D(2), surrogate=given),
    ):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(cell))
        assert repr(again.surrogate) == repr(cell.surrogate) == repr(surrogates.get(given))


# --- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "gradient", "surrogate", "reset", "beta"), [
    (plain, "accumulated", Triangle(), "subtract", 1.0), (plain, "accumulated", FastSigmoid(), "zero", 0.8),
    (plain, "bptt", Triangle(), "zero", 0.99), (plain, "bptt", Sigmoid(), "subtract", 0.8),
    (strided_residual, "accumulated", ATan(), "zero", 0.8),
    (strided_residual, "accumulated", Sigmoid(), "subtract", 0.99),
    (strided_residual, "bptt", ATan(), "subtract", 1.0), (strided_residual, "bptt", FastSigmoid(), "zero", 0.8),
])  # fmt: skip
def test_networks_against_the_oracle(make, gradient, surrogate, reset, beta):
    """Convolutions, pooling neurons, residual blocks; potentials that start at 0, and at a half."""
    for start, num_steps in ((0.0, 9), (0.5, 4)):
        neuron, of_oracle = both(surrogate, start)
        network, weights, inputs, simulation = safe_case(make, beta, num_steps, reset=reset, **of_oracle)
        rnn, names = build_rnn(network, weights, reset=reset, neuron=neuron, gradient=gradient)
        steep = surrogate.get_config().get("slope") == 25  # it multiplies the rounding error of a potential by up to 50
        compare(rnn, names, inputs, simulation, gradient, tolerance=5e-5 if steep else TOLERANCE)


@pytest.mark.parametrize("beta", [0.9, slow(1.0)])
@pytest.mark.parametrize("make", [plain, slow(strided_residual)])
@pytest.mark.parametrize(("gradient", "surrogate"), [
    ("accumulated", None), ("bounded", None), ("bptt", None), ("accumulated", Triangle()), ("bptt", ATan()),
])  # fmt: skip
def test_signed_neurons(gradient, surrogate, make, beta):
    neuron, of_oracle = both(surrogate, 0.5)
    network, weights, inputs, simulation = safe_case(make, beta, 8, reset="subtract", signed=True, **of_oracle)
    assert all((simulation.spikes[n["name"]] < 0).any() for n in network["nodes"] if n["kind"] == "LIF")
    rnn, names = build_rnn(network, weights, reset="subtract", neuron=neuron | {"signed": True}, gradient=gradient)
    compare(rnn, names, inputs, simulation, gradient, tolerance=TOLERANCE)
    for name, of_neuron in rnn.observe(inputs)[1].items():
        if "spike_count" in of_neuron:  # events of both signs
            np.testing.assert_array_equal(of_neuron["spike_count"], np.abs(simulation.spikes[name]).sum(1))
    first = rnn.__class__(rnn.cell, gradient=rnn.gradient, return_state=True)
    _, *states = first(inputs[:, :3])
    assert_close(first(inputs[:, 3:], initial_state=states)[0], simulation.outputs)


def dense_case(beta=0.9, num_steps=9, reset="zero", surrogate=ATan(), kappa=6.0):  # noqa: B008
    def make(beta):
        network, shapes = plain(beta)
        fc, out = network["nodes"][2:]
        fc["inputs"][0]["source"] = "in"
        first = {**fc, "name": "first", "inputs": [{"source": "in", "synapse": ["dense", "w0"]}]}
        fc["inputs"][0]["source"] = "first"
        shapes = {"w0": (5, 8), "w1": (8, 20), "w2": (20, 4)}
        return {"beta": beta, "input_shape": [5], "nodes": [first, fc, out]}, shapes

    neuron, of_oracle = both(surrogate)
    return neuron, *safe_case(make, beta, num_steps, kappa=kappa, reset=reset, **of_oracle)


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize(("gradient", "surrogate"), [
    ("accumulated", None), ("bounded", None), ("bptt", None), ("accumulated", ATan()), ("bptt", ATan()),
])  # fmt: skip
def test_the_derivative_of_a_later_chunk_starts_with_it(gradient, reset, surrogate):
    """The potentials are carried on, as constants."""
    neuron, network, weights, inputs, _ = dense_case(reset=reset, surrogate=surrogate)
    first = Simulation(network, weights, inputs[:, :4], reset=reset)
    start = {n["name"]: first.membranes[n["name"]][:, -1] for n in network["nodes"]}
    second = Simulation(
        network, weights, inputs[:, 4:], reset=reset, surrogate=in_numpy(neuron["surrogate"]), start=start
    )
    rnn, names = build_rnn(network, weights, reset=reset, neuron=neuron, gradient=gradient, return_state=True)
    _, *states = rnn(inputs[:, :4])
    with tf.GradientTape() as tape:
        outputs, *_ = rnn(inputs[:, 4:], initial_state=states)
        loss = tf.reduce_sum(outputs**2)
    expected = second.outputs * 5 / 9  # of all steps
    assert_close(outputs, expected)
    gradients = getattr(second, f"grad_{gradient}")(2 * expected * 5 / 9)
    for name, actual in zip(names, tape.gradient(loss, rnn.trainable_weights), strict=True):
        assert_close(actual, gradients[name], name, TOLERANCE)


@pytest.mark.parametrize(("gradient", "reset"), [("accumulated", "subtract"), ("bptt", "zero")])
def test_low_precision_synapses(gradient, reset):
    """Weights, spikes and currents are exact in bfloat16: so are potentials; a gradient is rounded to 8 bits."""
    rng = np.random.default_rng(0)
    neuron, network, weights, inputs, _ = dense_case(beta=0.75, reset=reset)
    weights = {name: rng.integers(-6, 9, w.shape).astype("float32") / 8 for name, w in weights.items()}
    simulation = Simulation(network, weights, inputs, reset=reset, surrogate=in_numpy(neuron["surrogate"]))
    rnn, names = build_rnn(network, weights, reset=reset, neuron=neuron, gradient=gradient, policy="mixed_bfloat16")
    compare(rnn, names, inputs, simulation, gradient, tolerance=2e-2)


# --- how good they are ------------------------------------------------------------------------------------------------


#: Those whose gradient is about the slope of the loss.
CLOSE = [row for row in gradient_slopes.ROWS if row.gradient != "bptt" and isinstance(row.surrogate, Triangle)]


@pytest.mark.slow
@pytest.mark.parametrize("row", gradient_slopes.ROWS, ids=str)
def test_the_gradient_of_a_deep_network_beside_the_slope_of_its_loss(row):
    """In each of six layers the figures are those of the page; on totals with a triangle, within a factor of 1.6."""
    found = gradient_slopes.ratios(row)
    assert len(found) == 6
    if row in CLOSE:
        assert min(found) > 1 / 1.6 and max(found) < 1.6
    page = (ROOT / "docs/gradient-choice.md").read_text()
    (line,) = (line for line in page.splitlines() if f"| {' | '.join(row.cells())} |" in line)
    for ratio, cell in zip(found, line.split("|")[4:-1], strict=True):
        least, most = (float(number) for number in cell.split(" to "))
        assert 0.9 * least < ratio < 1.1 * most


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_nothing_of_a_step_is_kept_for_the_backward_pass():
    """The graph of a training step has one loop, and no stack with an entry for each of its steps, but with bptt."""
    found = []
    for gradient in ("accumulated", "bptt"):
        cell = ksbp.LIFCell(keras.layers.Dense(3, use_bias=False), surrogate="atan")
        layer = ksbp.SpikingRNN(cell, gradient=gradient, block_size=2)
        layer.build((None, None, 4))

        @tf.function
        def step(x, layer=layer):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(layer(x, training=True) ** 2)
            return tape.gradient(loss, layer.trainable_weights)

        graph = step.get_concrete_function(tf.TensorSpec((2, 8, 4))).graph
        loops = [op for op in graph.get_operations() if op.type in ("While", "StatelessWhile")]
        stacks = [t for op in loops for t in op.outputs if t.dtype == tf.variant]  # one entry for each step
        found.append((len(loops), len(stacks) > 0))
    assert found == [(1, False), (2, True)]


# --- of the user, scaled, refused -------------------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="tests")
class Box(surrogates.Surrogate):
    """1 within `width` of the threshold."""

    def __init__(self, width):
        self.width = width

    def __call__(self, u):
        return tf.cast(tf.abs(u) < self.width, u.dtype)


def test_one_of_the_user(tmp_path):
    cell = ksbp.LIFCell(keras.layers.Dense(1, kernel_initializer="ones"), beta=1.0, threshold=1.0, surrogate=Box(0.3))
    inputs = keras.Input((1, 1))
    model = keras.Model(inputs, ksbp.SpikingRNN(cell, gradient="bptt")(inputs))
    model.save(tmp_path / "model.keras")
    for one in (model, keras.saving.load_model(tmp_path / "model.keras")):
        x = tf.constant([0.5, 0.75, 1.25, 1.5])[:, None, None]
        with tf.GradientTape() as tape:
            tape.watch(x)
            rates = one(x)
        np.testing.assert_array_equal(rates[:, 0], [0, 0, 1, 1])
        np.testing.assert_array_equal(tape.gradient(rates, x)[:, 0, 0], [0, 1, 1, 0])


class Renamed(ksbp.surrogates.Surrogate):
    def __init__(self, width):
        self.half = width / 2


@pytest.mark.parametrize("scale", [2.5, [0.5, 1.0, 4.0]])
def test_a_scaled_surrogate_is_that_of_potentials_in_another_unit(scale, tmp_path):
    """Weights, threshold and surrogate as many times as large: the same spikes, and the same gradient by the factor."""
    x, found = (np.random.default_rng(0).random((3, 9, 4)) < 0.5).astype("float32"), []
    kernel = np.random.default_rng(1).normal(0.3, 0.6, (4, 3)).astype("float32")
    for unit, surrogate in ((1.0, "atan"), (scale, ATan().scaled(scale))):
        cell = ksbp.LIFCell(
            keras.layers.Dense(3, use_bias=False), threshold=np.multiply(unit, 1.0), surrogate=surrogate
        )
        model = keras.Sequential([keras.Input((9, 4)), ksbp.SpikingRNN(cell, gradient="bptt")])
        model.set_weights([kernel * np.float32(unit)])
        model.save(tmp_path / "model.keras")
        model = keras.saving.load_model(tmp_path / "model.keras")
        with tf.GradientTape() as tape:
            rates = model(x)
            loss = tf.reduce_sum(rates * [1.0, 2.0, 3.0])
        found.append((rates, tape.gradient(loss, model.trainable_variables)[0] * np.float32(unit)))
    assert np.any(found[0][0]) and np.all(np.any(found[0][1], axis=0))
    np.testing.assert_allclose(found[0][0], found[1][0])
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("surrogate", [Triangle(0.5), ATan(), Sigmoid(4.0), FastSigmoid(3.0)], ids=repr)
def test_scaled(surrogate):
    u = tf.constant(np.linspace(-5, 5, 101), tf.float32)[:, None]
    for scales in ([3.0], [1.0, 4.0]):
        np.testing.assert_allclose(surrogate.scaled(scales)(u), surrogate(u / scales) / scales, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("call", "error", "argument"), [
    (lambda: ksbp.LIFCell(keras.layers.Dense(2), surrogate="box"), ValueError, "surrogate"),
    (lambda: ksbp.LIFCell(keras.layers.Dense(2), surrogate=ATan), ValueError, "surrogate"),
    (lambda: Triangle(0), ValueError, "width"),
    (lambda: ATan(0), ValueError, "alpha"),
    (lambda: Sigmoid(0), ValueError, "slope"),
    (lambda: FastSigmoid(0), ValueError, "slope"),
    (lambda: ATan().scaled([1.0, 0.0]), ValueError, "scale"),
    (lambda: ksbp.LIFCell(keras.layers.Dense(6), surrogate=Renamed(0.1)), TypeError, "half"),  # when it is made
])  # fmt: skip
def test_refused(call, error, argument):
    with pytest.raises(error, match=argument):
        call()
