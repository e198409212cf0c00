"""Networks to export, what the library says of them, and what their files say in a fresh process."""

import functools
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import keras_spiking_bp as ksbp

PROGRAM = Path(__file__).parent / "without_library.py"


def exact(model):
    """The same model with weights that are exact in binary: sums do not depend on their order. (Leaks of 0.5 too.)"""
    rng = np.random.default_rng(0)
    model.set_weights([np.round(weights * 64) / 64 for weights in model.get_weights()])
    for norm in model._flatten_layers():
        if isinstance(norm, keras.layers.BatchNormalization):
            shape, norm.epsilon = norm.moving_mean.shape, 2.0**-10
            norm.moving_mean.assign(rng.integers(-8, 9, shape) / 32)
            norm.moving_variance.assign(4.0 ** rng.integers(-1, 2, shape) - norm.epsilon)
            norm.gamma.assign(2.0 ** rng.integers(-2, 1, shape))
            norm.beta.assign(rng.integers(-4, 5, shape) / 32)
    return model


def lenet(**kwargs):
    """A spiking LeNet on 12 x 12 pixels."""
    return ksbp.models.spiking_lenet((12, 12, 1), 4, beta=0.5, kappa=6.0, seed=0, **kwargs)


def resnet(**kwargs):
    """A residual network with all three kinds of shortcut."""
    blocks = [(16, 1), (16, 2), (24, 2)]
    return ksbp.models.spiking_resnet(
        (12, 12, 1), 4, blocks, dense_units=[40], beta=0.5, kappa=4.0, stem_filters=16, seed=0, **kwargs, preset="paper"
    )


def normalized(pooling, **kwargs):
    """A network with batch normalisation everywhere, no pooling neurons, and potentials that do not start at zero.

    Processors approximate the root of a variance, so potentials differ in the last bit from one to another. Therefore
    the threshold is no multiple of the weights: a potential equal to it would fire on some processors only.
    """
    return ksbp.models.spiking_resnet(
        (12, 12, 1), 4, [(16, 1), (24, 2)], dense_units=[40], beta=0.5, kappa=4.0, stem_filters=16, seed=0,
        normalization="batch", pooling=pooling, threshold=1 + 2**-9 / 3, initial_membrane=0.5, surrogate="triangle",
        **kwargs, preset="paper",
    )  # fmt: skip


def averages(**kwargs):
    return normalized("average", **kwargs)


def maxima(**kwargs):
    return normalized("max", **kwargs)


def recurrent(num_steps):
    """Signed spikes that come back through a convolution and all to all, synaptic currents, a start at a half."""

    def weights(seed):
        return {"use_bias": False, "kernel_initializer": keras.initializers.HeNormal(seed=seed)}

    neuron = {"beta": 0.5, "synaptic_beta": 0.5, "initial_membrane": 0.5, "surrogate": "atan"}
    neuron |= {"reset_mechanism": "subtract", "signed": True}
    cells = [
        ksbp.RecurrentCell(
            ksbp.LIFCell(keras.layers.Conv2D(4, 3, padding="same", **weights(1)), name="conv", **neuron),
            keras.layers.Conv2D(4, 3, padding="same", **weights(2)),
        ),
        keras.layers.Flatten(),
        ksbp.RecurrentCell(
            ksbp.LIFCell(keras.layers.Dense(20, **weights(3)), name="fc", **neuron),
            keras.layers.Dense(20, **weights(4)),
        ),
        ksbp.ReadoutCell(keras.layers.Dense(4, **weights(5)), beta=0.5, name="readout"),
    ]
    images = keras.Input((12, 12, 1))
    inputs = ksbp.PoissonEncoder(num_steps, seed=0)(images)
    return keras.Model(images, ksbp.SpikingRNN(ksbp.SequentialCell(cells), gradient="bptt")(inputs))


def small(**kwargs):
    """One convolution and the readout, for what is the same in every network."""
    return ksbp.models.spiking_vgg((12, 12, 1), 4, [(4, 3)], [], beta=0.5, kappa=6.0, seed=0, **kwargs, preset="paper")


def spikes(samples=3, num_steps=40, shape=(12, 12, 1), low=-1):
    """Spikes (B, T, ...): -1 (or `low`), 0 and 1."""
    return np.random.default_rng(0).integers(low, 2, (samples, num_steps, *shape)).astype("float32")


def in_the_library(model, inputs):
    """As `without_library.py`: step by step, and the output of the `window`; and the number of spikes in it.

    Potentials are taken from where they start.
    """
    layer = model.layers[-1]
    stepper = ksbp.SpikingRNN(layer.cell, layer.gradient, return_state=True)
    step = tf.function(lambda now, states: stepper(now, initial_state=states), autograph=False)
    neurons = layer.cell.neurons()
    start = states = stepper.get_initial_state(len(inputs))
    outputs, silent = [], []
    for t in range(inputs.shape[1]):
        output, *states = step(inputs[:, t : t + 1], states)
        outputs.append(output * (t + 1))
        silent.append([np.abs(state - before) < 1e-6 for state, before in zip(states, start, strict=True)])
    entries = [(neuron, entry) for neuron in neurons for entry in neuron.carried_shapes]
    over_time = zip(entries, zip(*silent, strict=True), strict=False)
    given = {f"{entry}_{n.name}": np.stack(values, axis=1) for (n, entry), values in over_time if n.carries_state}
    both = tf.function(lambda inputs: (layer(inputs), layer.observe(inputs)[1]), autograph=False)
    window, activity = both(inputs)
    num_spikes = sum(np.sum(neuron["spike_count"]) for neuron in activity.values() if "spike_count" in neuron)
    return {**given, "outputs": np.stack(outputs, axis=1), "window": window.numpy(), "num_spikes": num_spikes}


@functools.cache
def expected_of(network):
    """What the library says of `exact(network(...))` for `spikes()`, whatever the format of the file."""
    return in_the_library(exact(network(num_steps=5)), spikes())


def in_a_fresh_process(files, inputs, folder):
    """What `without_library.py` says of each file, all in one process (to import TensorFlow takes seconds)."""
    np.save(folder / "spikes.npy", inputs)
    command = [sys.executable, "-I", PROGRAM, folder / "spikes.npy", folder, *files]
    subprocess.run([str(part) for part in command], check=True)
    return [dict(np.load(folder / f"{number}.npz")) for number in range(len(files))]


def assert_the_same(given, expected):
    """Step by step and over the window, in a network that is not silent."""
    assert expected["membrane_readout"].shape == expected["outputs"].shape
    assert np.abs(expected["outputs"][:, -1]).max() > 0.1
    for name in given.keys() & expected.keys():
        np.testing.assert_allclose(given[name], expected[name], rtol=0, atol=1e-5, err_msg=name)
    if "outputs" in given:  # of the step form, which has all states
        assert {name for name in expected if name.startswith(("membrane_", "current_", "fed_back_"))} <= given.keys()
        num_steps = given["outputs"].shape[1]
        np.testing.assert_allclose(given["outputs"][:, -1], num_steps * expected["window"], rtol=0, atol=1e-5)


def share_flipped(given, expected):
    """Spikes of all neurons that are in one but not in the other, per spike of `expected`."""
    names = [name for name in expected if name.startswith("membrane_")]
    return sum((given[name] != expected[name]).sum() for name in names) / expected["num_spikes"]
