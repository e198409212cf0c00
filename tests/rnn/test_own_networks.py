"""Networks of our own making against the NumPy oracle: fast leak, strided residual, dropout, reset by subtraction."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from keras_spiking_bp.gradients.surrogates import ATan, FastSigmoid, Sigmoid, Triangle
from tests.networks import build_rnn
from tests.oracle import (
    SAFE_MARGIN,
    compare,
    draw_masks,
    dropout_of,
    hand_masks,
    in_numpy,
    node,
    plain,
    safe_case,
    strided_residual,
)
from tests.reference import Simulation


@pytest.mark.parametrize("gradient", ["accumulated", "bounded", "bptt"])
@pytest.mark.parametrize(("make", "beta", "reset"), [
    (plain, 0.8, "zero"), (plain, 1.0, "subtract"), (strided_residual, 0.8, "subtract"), (strided_residual, 1.0, "zero")
])  # fmt: skip
def test_gradients(make, beta, reset, gradient):
    network, weights, inputs, simulation = safe_case(make, beta, reset=reset)
    rnn, names = build_rnn(network, weights, reset=reset, gradient=gradient)
    compare(rnn, names, inputs, simulation, gradient)


@pytest.mark.parametrize("gradient", ["accumulated", "bounded", "bptt"])
def test_gradients_with_dropout(gradient, monkeypatch):
    network, weights, inputs, simulation = safe_case(strided_residual, 0.9, keep=draw_masks)
    rnn, names = build_rnn(network, weights, dropout=dropout_of(network, simulation), gradient=gradient)
    hand_masks(rnn, simulation, monkeypatch)
    compare(rnn, names, inputs, simulation, gradient, training=True)


ANY_NETWORK = {
    "units": st.lists(st.integers(1, 6), min_size=2, max_size=4), "batch": st.integers(1, 3),
    "num_steps": st.integers(1, 15), "beta": st.floats(0.3, 1.0), "threshold": st.floats(0.2, 2.0),
    "reset": st.sampled_from(["zero", "subtract"]), "start": st.sampled_from([0.0, 0.5, 0.9]),
    "readout": st.sampled_from([None, "leak ignored", "leak differentiated"]),
    "over_time": st.sampled_from(["at the end", "each step", "masked"]), "seed": st.integers(0, 10_000),
}  # fmt: skip
SURROGATE = st.sampled_from([Triangle(0.5), Triangle(2.0), ATan(), Sigmoid(4.0), FastSigmoid(3.0)])


def searched(networks, **kwargs):
    return settings(max_examples=networks, deadline=None, suppress_health_check=list(HealthCheck), **kwargs)


@searched(8, derandomize=True)
@given(**ANY_NETWORK)
def test_any_small_network(**network):
    check_small_network(None, ("accumulated", "bounded", "bptt"), **network)


@searched(5, derandomize=True)
@given(surrogate=SURROGATE, **ANY_NETWORK)
def test_any_small_network_with_a_surrogate(surrogate, **network):
    check_small_network(surrogate, ("accumulated", "bptt"), **network)


@pytest.mark.slow
@searched(40)
@given(surrogate=st.none() | SURROGATE, **ANY_NETWORK)
def test_more_small_networks(surrogate, **network):
    rules = ("accumulated", "bptt") if surrogate else ("accumulated", "bounded", "bptt")
    check_small_network(surrogate, rules, **network)


def check_small_network(
    surrogate, rules, units, batch, num_steps, beta, threshold, reset, start, readout, over_time, seed
):
    """Shapes, leaks, thresholds and real-valued inputs as they come: outputs, records, all gradients.

    A sample with masked steps is one without these steps.
    """
    rng = np.random.default_rng(seed)
    beta, threshold = float(np.float32(beta)), float(np.float32(threshold))
    names = [f"w{i}" for i in range(len(units))]
    sizes = [3, *units]
    weights = {name: rng.normal(size=sizes[i : i + 2]).astype("float32") for i, name in enumerate(names)}
    sources = ["in", *(f"n{i}" for i in range(len(units)))]
    nodes = [node(f"n{i}", "LIF", threshold, (sources[i], "dense", name)) for i, name in enumerate(names)]
    if readout:
        nodes[-1]["kind"] = "readout"
    leaks = {"readout_leak": readout == "leak differentiated"}
    network = {"beta": beta, "input_shape": [3], "nodes": nodes}
    inputs = rng.normal(size=(batch, num_steps, 3)).astype("float32")
    mask = None
    steps = np.ones((batch, num_steps), bool)
    if over_time == "masked":
        mask = steps = rng.random((batch, num_steps)) < 0.6
        mask[:, rng.integers(num_steps)] = True
    arguments = {"reset": reset, "surrogate": surrogate and in_numpy(surrogate), "start": start, **leaks}
    samples = [Simulation(network, weights, inputs[i : i + 1, steps[i]], **arguments) for i in range(batch)]
    assume(min(sample.margin for sample in samples) > SAFE_MARGIN)
    shown = "outputs_of_steps" if over_time == "each step" else "outputs"
    expected_outputs = np.concatenate([getattr(sample, shown) for sample in samples])
    neuron = {"surrogate": surrogate, "initial_membrane": start}
    for gradient in rules:
        options = {"gradient": gradient, "return_sequences": over_time == "each step"}
        rnn, _ = build_rnn(network, weights, reset=reset, neuron=neuron, **leaks, **options)
        with tf.GradientTape() as tape:
            outputs = rnn(inputs, mask=mask)
            loss = tf.reduce_sum(outputs**2)
        np.testing.assert_allclose(outputs, expected_outputs, rtol=1e-5, atol=1e-5)
        of_samples = [getattr(sample, f"grad_{gradient}")(2 * getattr(sample, shown)) for sample in samples]
        for name, actual in zip(names, tape.gradient(loss, rnn.trainable_weights), strict=True):
            expected = sum(of_sample[name] for of_sample in of_samples)
            scale = 1 + np.abs(expected).max()
            np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * scale)
    _, activity = rnn.observe(inputs, mask=mask)
    for of_node in nodes[:-1] if readout else nodes:
        record, name = activity[of_node["name"]], of_node["name"]
        np.testing.assert_array_equal(record["spike_count"], np.concatenate([s.spike_count(name) for s in samples]))
        np.testing.assert_array_equal(record["last_spike"], np.concatenate([s.last_spike(name) for s in samples]))


@pytest.mark.parametrize(("make", "reset"), [(plain, "zero"), (strided_residual, "subtract")])
def test_nothing_passes_a_count_at_its_bounds(make, reset):
    """Large weights and few steps: in each LIF layer some neurons fire at every step, some got a negative charge."""
    network, weights, inputs, simulation = safe_case(make, 0.99, num_steps=4, reset=reset, kappa=60.0)
    silent_between = 0
    for of_node in (n for n in network["nodes"] if n["kind"] == "LIF"):
        count = simulation.spike_count(of_node["name"])
        assert 0.01 < (count == 4).mean() < 0.9
        assert 0.01 < (simulation.charge(of_node) <= 0).mean() < 0.9
        silent_between += ((count == 0) & simulation.between_bounds(of_node)).sum()
    assert silent_between > 0
    rnn, names = build_rnn(network, weights, reset=reset, gradient="bounded")
    compare(rnn, names, inputs, simulation, "bounded")
    g = 2 * (simulation.outputs - np.eye(4)[[1, 3]])
    bounded, accumulated = simulation.grad_bounded(g), simulation.grad_accumulated(g)
    for name in set(names) - {network["nodes"][-1]["inputs"][0]["synapse"][1]}:
        assert np.linalg.norm(bounded[name] - accumulated[name]) > 0.1 * np.linalg.norm(accumulated[name])
