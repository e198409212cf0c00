"""Networks that our cells and the NumPy oracle both run, and how their results are compared."""

import numpy as np
import tensorflow as tf

from keras_spiking_bp.gradients.surrogates import ATan, FastSigmoid, Sigmoid, Triangle
from tests.reference import SURROGATES, Simulation

TOLERANCE = 2e-6  # of the largest entry
SAFE_MARGIN = 3e-5  # no potential comes closer to its threshold: float32 must give the very same spikes


def assert_close(actual, expected, name="", tolerance=TOLERANCE):
    largest = np.abs(expected).max()
    assert largest > 0, f"nothing to compare: {name}"
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * largest, err_msg=name)


def node(name, kind, threshold, *inputs):
    return {
        "name": name,
        "kind": kind,
        "threshold": threshold,
        "inputs": [{"source": source, "synapse": list(synapse)} for source, *synapse in inputs],
    }


def plain(beta):
    """Convolution, pooling, two fully connected layers."""
    return {
        "beta": beta,
        "input_shape": [8, 8, 2],
        "nodes": [
            node("conv", "LIF", 1.0, ("in", "conv", "k1", 1, 1)),
            node("pool", "IF", 0.75, ("conv", "avg", 2, 2)),
            node("fc", "LIF", 0.9, ("pool", "dense", "w1")),
            node("out", "readout", None, ("fc", "dense", "w2")),
        ],
    }, {"k1": (3, 3, 2, 6), "w1": (96, 20), "w2": (20, 4)}


def strided_residual(beta):
    """A block as in ResNet11: symmetric padding, stride 2 on both paths; then one with a sub-sampling shortcut."""
    return {
        "beta": beta,
        "input_shape": [8, 8, 2],
        "nodes": [
            node("stem", "LIF", 1.0, ("in", "conv", "k0", 1, 1)),
            node("a1", "LIF", 1.0, ("stem", "conv", "k1", 1, 1)),
            node("b1", "LIF", 1.2, ("a1", "conv", "k2", 2, 1), ("stem", "conv", "ks", 2, 0)),
            node("a2", "LIF", 1.0, ("b1", "conv", "k3", 1, 1)),
            node("b2", "LIF", 1.0, ("a2", "conv", "k4", 2, 1), ("b1", "avg", 1, 2)),
            node("out", "readout", None, ("b2", "dense", "w")),
        ],
    }, {
        "k0": (3, 3, 2, 4), "k1": (3, 3, 4, 6), "k2": (3, 3, 6, 6), "ks": (1, 1, 4, 6), "k3": (3, 3, 6, 6),
        "k4": (3, 3, 6, 6), "w": (24, 4),
    }  # fmt: skip


def draw(shapes, network, seed, num_steps, rate=0.4, kappa=3.0):
    rng = np.random.default_rng(seed)
    weights = {
        name: (rng.normal(size=shape) * np.sqrt(kappa / np.prod(shape[:-1]))).astype("float32")
        for name, shape in shapes.items()
    }
    inputs = rng.choice([-1.0, 0.0, 1.0], (2, num_steps, *network["input_shape"]), p=[0.1, 1 - rate, rate - 0.1])
    return weights, inputs.astype("float32"), rng


def safe_case(make, beta, num_steps=20, keep=None, kappa=3.0, **of_simulation):
    """The first seed of a case that stays clear of every threshold; neurons of every layer fire in it."""
    network, shapes = make(beta)
    for seed in range(500):
        weights, inputs, rng = draw(shapes, network, seed, num_steps, kappa=kappa)
        simulation = Simulation(network, weights, inputs, keep=keep and keep(rng), **of_simulation)
        all_fire = all(simulation.spikes[n["name"]].any() for n in network["nodes"][:-1])
        if simulation.margin > SAFE_MARGIN and all_fire:
            return network, weights, inputs, simulation
    raise AssertionError("no safe case found")


def compare(rnn, names, inputs, simulation, gradient, training=False, tolerance=TOLERANCE):
    targets = np.eye(4)[[1, 3]]
    with tf.GradientTape() as tape:
        outputs = rnn(inputs, training=training)
        loss = tf.reduce_sum((outputs - targets) ** 2)
    assert_close(outputs, simulation.outputs, "outputs")
    expected = getattr(simulation, f"grad_{gradient}")(2 * (simulation.outputs - targets))
    for name, actual in zip(names, tape.gradient(loss, rnn.trainable_weights), strict=True):
        assert_close(actual, expected[name], name, tolerance)


def draw_masks(rng):
    shapes = {"conv": (2, 8, 8, 6), "fc": (2, 20), "b1": (2, 4, 4, 6), "a2": (2, 4, 4, 6)}
    return {name: (rng.random(shape) >= 0.5) / 0.5 for name, shape in shapes.items()}


def dropout_of(network, simulation):
    dropout = {n["name"]: 0.5 for n in network["nodes"] if n["name"] in simulation.keep}
    assert len(dropout) == 2
    return dropout


def hand_masks(rnn, simulation, monkeypatch):
    for neuron in rnn.cell.neurons():
        if neuron.dropout:
            mask = tf.constant(simulation.keep[neuron.name], tf.float32)
            monkeypatch.setattr(neuron, "draw_keep", lambda batch_size, mask=mask: mask)


def in_numpy(surrogate):
    """The same surrogate of the oracle."""
    if surrogate is None:
        return None
    name = {Triangle: "triangle", ATan: "atan", Sigmoid: "sigmoid", FastSigmoid: "fast_sigmoid"}[type(surrogate)]
    (argument,) = surrogate.get_config().values()
    return lambda u: SURROGATES[name](u, argument)
