"""Graphs of ours in other libraries, and theirs in ours: the same spikes at each step."""

import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from tests.interchange.networks import channels_first, every_step, network

pytest.importorskip("nir")
HOW = "needs pip install 'keras-spiking-bp[peers]' (make test-peers)"


@pytest.fixture(scope="module")
def snntorch():
    pytest.importorskip("nirtorch", reason=HOW)
    pytest.importorskip("snntorch.import_nir", reason=HOW)
    return pytest.importorskip("snntorch", reason=HOW)


@pytest.fixture(scope="module")
def nir_exchange():
    pytest.importorskip("nirtorch", reason=HOW)
    return pytest.importorskip("spikingjelly.activation_based.nir_exchange", reason=HOW)


def run(module, inputs):
    """What a torch module made by nirtorch gives at each step of `inputs` (T, ...)."""
    import torch

    outputs, state = [], None
    for x in inputs:
        y, state = module(torch.from_numpy(x), state)
        outputs.append(y.detach().numpy())
    return np.stack(outputs)


def of_each_sample(importer, graph, x):
    """Sample by sample, with no batch axis: snnTorch's Flatten takes NIR's axes, which have none."""
    return np.stack([run(importer(graph), sample) for sample in channels_first(x)])


@pytest.mark.parametrize("name", ["dense", "conv", "sums of spikes"])
def test_snntorch_reads_ours(snntorch, name):
    layer, x = network(name)
    spikes = layer(x).numpy()
    assert 0.1 < spikes.mean() < 0.9
    np.testing.assert_array_equal(of_each_sample(snntorch.import_nir.import_from_nir, ksbp.to_nir(layer), x), spikes)


@pytest.mark.parametrize("name", ["dense", "conv", "residual", "sums of spikes"])
def test_spikingjelly_reads_ours(nir_exchange, name):
    layer, x = network(name)
    spikes = layer(x).numpy()
    assert 0.1 < spikes.mean() < 0.9
    module = nir_exchange.import_from_nir(ksbp.to_nir(layer))
    theirs = np.swapaxes(run(module, np.swapaxes(channels_first(x), 0, 1)), 0, 1)
    np.testing.assert_array_equal(theirs, spikes)


def snntorch_leaky(snntorch, shape, beta):
    import torch

    neurons = {"beta": torch.full(shape, beta), "threshold": torch.full(shape, 0.7310585)}
    return snntorch.Leaky(**neurons, init_hidden=True, reset_mechanism="zero", reset_delay=False)


def snntorch_network(snntorch, name):
    from torch import nn

    if name == "dense":
        shape = (20,)
        synapses = [nn.Linear(20, 30), nn.Linear(30, 10, bias=False)]
        module = nn.Sequential(
            synapses[0], snntorch_leaky(snntorch, (30,), 0.95), synapses[1], snntorch_leaky(snntorch, (10,), 0.9)
        )
    else:
        shape = (2, 7, 6)
        synapses = [nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.Conv2d(4, 6, 3, padding=1), nn.Linear(12, 10)]
        module = nn.Sequential(
            synapses[0],
            snntorch_leaky(snntorch, (4, 4, 3), 0.95),
            synapses[1],
            nn.AvgPool2d((2, 2)),
            nn.Flatten(),
            synapses[2],
            snntorch_leaky(snntorch, (10,), 0.9),
        )
    return module, synapses, shape


@pytest.mark.parametrize("name", ["dense", "conv"])
def test_ours_reads_snntorch(snntorch, name):
    import torch
    from snntorch.export_nir import export_to_nir

    module, synapses, shape = snntorch_network(snntorch, name)
    rng = np.random.default_rng(0)
    for parameter in (p for synapse in synapses for p in synapse.parameters()):
        values = np.round(rng.normal(0.2, 0.6, tuple(parameter.shape)) * 64) / 64
        parameter.data = torch.from_numpy(values.astype("float32"))
    x = (rng.random((4, 40, *shape)) < 0.3).astype("float32")
    graph = export_to_nir(module, torch.zeros(1, *shape), ignore_dims=[0])
    for neuron in module:
        if isinstance(neuron, snntorch.Leaky):
            neuron.reset_mem()
    spikes = np.stack([module(torch.from_numpy(x[:, t])).detach().numpy() for t in range(40)], 1)
    assert 0.1 < spikes.mean() < 0.9
    model = ksbp.from_nir(graph)
    ours = x if name == "dense" else np.moveaxis(x, 2, -1)
    np.testing.assert_array_equal(every_step(model)(ours), spikes)
    np.testing.assert_allclose(model(ours), spikes.mean(1), atol=1e-6)


@pytest.mark.parametrize("name", ["dense", "conv"])
def test_a_network_of_snntorch_trains_on_with_its_gradients(snntorch, name):
    """`from_nir(surrogate=...)`: the weights' gradients of the loss of a network that snnTorch wrote."""
    import torch
    from snntorch.export_nir import export_to_nir

    module, synapses, shape = snntorch_network(snntorch, name)
    rng = np.random.default_rng(0)
    weights = [synapse.weight for synapse in synapses]
    for weight in weights:
        weight.data = torch.from_numpy(rng.normal(0.2, 0.6, tuple(weight.shape)).astype("float32"))
    neurons = [part for part in module if isinstance(part, snntorch.Leaky)]
    for neuron in neurons:
        neuron.reset_delay = True  # then their reset is detached, and to zero it is that of the graph
    graph = export_to_nir(module, torch.zeros(1, *shape), ignore_dims=[0])
    for neuron in neurons:
        neuron.reset_mem()
    x, target = (rng.random((4, 12, *shape)) < 0.3).astype("float32"), rng.random((4, 10)).astype("float32")
    rates = sum(module(torch.from_numpy(x[:, t])) for t in range(12)) / 12
    ((rates - torch.from_numpy(target)) ** 2).mean().backward()
    expected = [weight.grad.numpy() for weight in weights]

    model = ksbp.from_nir(graph, surrogate="atan", gradient="bptt")
    with tf.GradientTape() as tape:
        outputs = model(x if name == "dense" else np.moveaxis(x, 2, -1), training=True)
        loss = tf.reduce_mean((outputs - target) ** 2)
    np.testing.assert_allclose(outputs, rates.detach().numpy(), atol=1e-6)
    kernels = [weight for weight in model.trainable_weights if weight.name == "kernel"]
    for gradient, wanted in zip(tape.gradient(loss, kernels), expected, strict=True):
        ours = np.asarray(gradient)
        if ours.ndim == 4:
            ours = ours.transpose(3, 2, 0, 1)
        elif ours.shape[0] == 12 and name == "conv":  # behind the flatten: (H, W, C) here, (C, H, W) there
            ours = ours.reshape(2, 1, 6, 10).transpose(3, 2, 0, 1).reshape(10, 12)
        else:
            ours = ours.T
        assert np.abs(wanted).max() > 1e-4
        np.testing.assert_allclose(ours, wanted, atol=1e-5 * np.abs(wanted).max())


def test_ours_reads_spikingjelly(nir_exchange):
    import torch
    from spikingjelly.activation_based import layer, neuron

    rng = np.random.default_rng(0)
    module = torch.nn.Sequential(
        layer.Conv2d(2, 6, 3, padding=1, bias=False),
        neuron.LIFNode(tau=10.0, decay_input=False, v_threshold=0.7310585, v_reset=0.0), layer.AvgPool2d(2),
        neuron.IFNode(v_threshold=0.7, v_reset=0.0), layer.Flatten(), layer.Linear(36, 10, bias=False),
        neuron.LIFNode(tau=5.0, decay_input=True, v_threshold=0.3210585, v_reset=0.0),
    )  # fmt: skip
    for parameter in module.parameters():
        values = np.round(rng.normal(0.2, 0.6, tuple(parameter.shape)) * 64) / 64
        parameter.data = torch.from_numpy(values.astype("float32"))
    x = (rng.random((4, 40, 2, 6, 4)) < 0.3).astype("float32")
    graph = nir_exchange.export_to_nir(module, torch.zeros(1, 2, 6, 4))
    with torch.no_grad():
        for node in module:
            if hasattr(node, "reset"):
                node.reset()
        spikes = np.stack([module(torch.from_numpy(x[:, t])).numpy() for t in range(40)], 1)
    assert 0.1 < spikes.mean() < 0.9
    np.testing.assert_array_equal(every_step(ksbp.from_nir(graph))(np.moveaxis(x, 2, -1)), spikes)
