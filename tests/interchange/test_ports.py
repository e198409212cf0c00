"""The networks of the ports and their originals, with the same weights: the same spikes in each layer and step.

Weights, biases and pixels are multiples of powers of two and normalisations have the variance 1, so that
sums are exact in any order; no potential meets the threshold, at which SpikingJelly fires and ours does not.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from examples.experiments.ports import conv_fashion_mnist, snntorch5, snntorch6
from examples.experiments.ports.common import TorchAdam
from tests.interchange.test_peers import HOW

SAMPLES, THRESHOLD = 8, 1.0123457


@pytest.fixture(scope="module")
def originals():
    for name in ("torch", "snntorch", "spikingjelly"):
        pytest.importorskip(name, reason=f"{name} {HOW}")
    from examples.experiments.ports import originals

    return originals


def images():
    values = np.random.default_rng(0).integers(0, 17, (SAMPLES, 28, 28, 1)) / 16
    return (values * (values > 0.5)).astype("float32")


def draw_weights(model, gain=4.0):
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if weight.name == "moving_variance":
            weight.assign(np.full(weight.shape, 1 - 1e-5))
        elif weight.name == "gamma":
            weight.assign(rng.integers(4, 13, weight.shape) / 8)
        elif len(weight.shape) == 1:
            weight.assign(rng.integers(-8, 9, weight.shape) / 64)
        else:
            fan_in = np.prod(weight.shape[:-1])
            weight.assign(np.round(rng.normal(0, gain, weight.shape) * 64 / np.sqrt(fan_in)) / 64)


def in_their_order(values, maps):
    """A weight of ours, or its gradient, with its axes and entries where torch has them.

    `maps` are (height, width) before a flattening, by the number of inputs of the dense layer.
    """
    if values.ndim == 2 and len(values) in maps:
        values = values.reshape(*maps[len(values)], -1, values.shape[-1]).transpose(2, 0, 1, 3)
        values = values.reshape(-1, values.shape[-1])
    return values.transpose((3, 2, 0, 1) if values.ndim == 4 else range(values.ndim)[::-1])


def copy_weights(model, module, maps):
    """Ours into theirs; `maps` as in `in_their_order`."""
    import torch

    ours = []
    for weight in model.weights:
        if weight.name in ("kernel", "gamma"):  # the first of a layer
            ours.append({})
        ours[-1][weight.name] = np.array(weight)
    theirs = [part for part in module.modules() if any(True for _ in part.parameters(recurse=False))]
    for values, part in zip(ours, theirs, strict=True):
        if "gamma" in values:
            names = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
        else:
            names = {"kernel": "weight", "bias": "bias"}
        for name, value in values.items():
            value, target = in_their_order(value, maps), getattr(part, names[name])
            assert target.shape == value.shape
            target.data = torch.from_numpy(value.copy())


def their_spikes(module, kinds, x):
    """Of each layer of neurons, (B, T, ...) with the channels last."""
    import torch

    found, hooks = {}, []
    for name, part in module.named_modules():
        if isinstance(part, kinds):
            found[name] = []
            hook = lambda _, __, out, name=name: found[name].append(out if torch.is_tensor(out) else out[0])  # noqa: E731
            hooks.append(part.register_forward_hook(hook))
    module.eval()
    with torch.no_grad():
        module(torch.from_numpy(np.moveaxis(x, -1, 1).copy()))
    trains = [torch.stack(out) if len(out) > 1 else out[0] for out in found.values()]
    trains = [np.swapaxes(train.numpy(), 0, 1) for train in trains]
    return [np.moveaxis(train, 2, -1) if train.ndim == 5 else train for train in trains]


def our_spikes(model, x):
    """The same of a network of cells, from the cells up to each layer of neurons."""
    encoder, rnn = (
        next(layer for layer in model.layers if isinstance(layer, kind))
        for kind in (ksbp.ConstantEncoder, ksbp.SpikingRNN)
    )
    currents = encoder(x.reshape(len(x), -1) if len(rnn.cell.cells) == 2 else x)
    trains = []
    for i, cell in enumerate(rnn.cell.cells):
        if isinstance(cell, snntorch5.PotentialCell):
            trains.append((model(x) > cell.threshold).numpy().astype("float32"))
        elif isinstance(cell, ksbp.LIFCell):
            part = ksbp.SpikingRNN(ksbp.SequentialCell(rnn.cell.cells[: i + 1]), return_sequences=True, gradient="bptt")
            trains.append(part(currents).numpy())
    return trains


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    assert sum(train.size for train in ours) >= 10_000
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        assert 0.01 < b.mean() < 0.95, i
        np.testing.assert_array_equal(a, b, err_msg=f"layer {i}")


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("port", [snntorch5, snntorch6], ids=lambda port: port.NAME)
def test_snntorch(originals, port, reset):
    """By subtraction with `LeakyCell(..., reset_mechanism="subtract")`; `LIFCell` alone has another reset."""
    import snntorch

    arguments = {"num_steps": 20, "reset_mechanism": reset, "threshold": THRESHOLD}
    model = port.network(**arguments)
    draw_weights(model)
    module = originals.build(port.NAME, **arguments)
    copy_weights(model, module, {1024: (4, 4)})
    theirs = their_spikes(module, snntorch.Leaky, images())
    assert_same(our_spikes(model, images()), theirs)
    plain = port.network(**arguments, reset_delay=False)
    plain.set_weights(model.get_weights())
    differ = [np.mean(a != b) for a, b in zip(our_spikes(plain, images()), theirs, strict=True)]
    assert max(differ) == 0 if reset == "zero" else min(differ) > 0.001


@pytest.mark.parametrize("layers", [False, True], ids=["cells", "layers"])
@pytest.mark.parametrize("node", ["IF", "LIF", "LIF with decay_input"])
def test_spikingjelly(originals, node, layers):
    """`LIFNode(tau, decay_input=True)` divides the current by tau: a threshold tau times as high does the same."""
    from spikingjelly.activation_based import neuron

    tau = 2.0

    def make():
        if node == "IF":
            return neuron.IFNode(v_threshold=THRESHOLD)
        return neuron.LIFNode(tau=tau, v_threshold=THRESHOLD, decay_input=node != "LIF")

    beta = 1.0 if node == "IF" else 1 - 1 / tau
    threshold = tau * THRESHOLD if "decay" in node else THRESHOLD
    model = conv_fashion_mnist.network(channels=8, num_steps=6, beta=beta, threshold=threshold, layers=layers)
    draw_weights(model)
    module = originals.build("conv_fashion_mnist", channels=8, num_steps=6, node=make)
    copy_weights(model, module, {8 * 7 * 7: (7, 7)})
    theirs = their_spikes(module, neuron.BaseNode, images())
    if layers:
        runs = [layer.output for layer in model.layers if isinstance(layer, ksbp.SpikingRNN)]
        ours = [train.numpy() for train in keras.Model(model.inputs, runs)([images()])]
        ours[-1], theirs[-1] = ours[-1][:, None], theirs[-1].mean(1, keepdims=True)
    else:
        ours = our_spikes(model, images())
    assert_same(ours, theirs)


@pytest.mark.parametrize("port", [snntorch5, snntorch6, conv_fashion_mnist], ids=lambda port: port.NAME)
def test_gradients(originals, port):
    """Of a training step, from the loss of the port and of the original. SpikingJelly's reset is detached for it."""
    import torch
    from spikingjelly.activation_based import neuron, surrogate

    if port is conv_fashion_mnist:
        options, mine = {"channels": 8}, {"layers": True, "threshold": THRESHOLD}
        node = {"v_threshold": THRESHOLD, "surrogate_function": surrogate.ATan(), "detach_reset": True}
        theirs = {"node": lambda: neuron.IFNode(**node)}
    else:
        options, mine, theirs = {"num_steps": 10}, {}, {}
    model, labels = port.network(**options, **mine), np.arange(SAMPLES)
    draw_weights(model)
    module = originals.build(port.NAME, **options, **theirs)
    maps = {1024: (4, 4), 8 * 7 * 7: (7, 7)}
    copy_weights(model, module, maps)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(port.loss(labels, model(images(), training=True)))
    x = torch.from_numpy(np.moveaxis(images(), -1, 1).copy())
    expected = originals.loss_of(port, module.train(), x, torch.from_numpy(labels))
    expected.backward()
    assert float(loss) == pytest.approx(float(expected.detach()), rel=1e-5)
    gradients = tape.gradient(loss, model.trainable_weights)
    for weight, gradient, parameter in zip(model.trainable_weights, gradients, module.parameters(), strict=True):
        a, b = in_their_order(gradient.numpy(), maps), parameter.grad.numpy()
        assert np.abs(b).max() > 0
        np.testing.assert_allclose(a, b, atol=1e-4 * np.abs(b).max(), err_msg=weight.path)


@pytest.mark.parametrize("scale", [1e-9, 1.0])
def test_adam(originals, scale):
    """`TorchAdam` is that of torch. With gradients as small as those of a silent network, that of Keras is not."""
    import torch

    gradients = np.random.default_rng(0).normal(0, scale, (6, 20)).astype("float32")
    parameter = torch.nn.Parameter(torch.zeros(20))
    theirs = torch.optim.Adam([parameter], 0.01)
    optimizers = [TorchAdam(0.01), keras.optimizers.Adam(0.01)]
    weights = [keras.Variable(np.zeros(20, "float32")) for _ in optimizers]
    for gradient in gradients:
        parameter.grad = torch.from_numpy(gradient)
        theirs.step()
        for optimizer, weight in zip(optimizers, weights, strict=True):
            optimizer.apply([tf.constant(gradient)], [weight])
    expected = parameter.detach().numpy()
    of_torch, of_keras = (np.abs(weight.numpy() - expected).max() / np.abs(expected).max() for weight in weights)
    assert of_torch < 1e-4
    assert of_keras > 0.9 if scale == 1e-9 else of_keras < 1e-4
