"""`gradient="bptt"` with a surrogate is what snnTorch and SpikingJelly compute: the same spikes, the same gradients.

snnTorch resets at the beginning of the next step (its default, `reset_delay=True`), with a detached reset: to zero this
is our recursion; by subtraction it takes the threshold from what has leaked already, which is ours without a leak. With
`reset_delay=False` it differentiates the reset, as neither SpikingJelly nor we do. Its `RLeaky`, `Synaptic` and
`RSynaptic` reset to zero in another way than its `Leaky`: what comes in right after a spike is lost. Its triangular
surrogate is another function than ours, and its sigmoid of slope 25 gives NaN at 3.6 below the threshold, where an
exponential overflows. SpikingJelly fires at the threshold already, we above it: no potential may meet one.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from examples.peer_cells import LeakyCell, ParametricLIFCell
from keras_spiking_bp.gradients.surrogates import ATan, FastSigmoid, Sigmoid, Triangle
from tests.interchange.test_peers import HOW
from tests.networks import build_rnn
from tests.oracle import assert_close, in_numpy, plain, safe_case, strided_residual

#: Of the largest entry. (A fast sigmoid of slope 25 multiplies a rounding error of a potential by up to 50: 1.4e-5.)
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def snntorch():
    pytest.importorskip("torch", reason=f"torch {HOW}")
    return pytest.importorskip("snntorch", reason=f"snntorch {HOW}")


@pytest.fixture(scope="module")
def spikingjelly():
    pytest.importorskip("torch", reason=f"torch {HOW}")
    pytest.importorskip("spikingjelly.activation_based.neuron", reason=f"spikingjelly {HOW}")
    return pytest.importorskip("spikingjelly.activation_based")


def of_snntorch(snntorch, surrogate):
    make = {ATan: snntorch.surrogate.atan, Sigmoid: snntorch.surrogate.sigmoid}.get(type(surrogate))
    (argument,) = surrogate.get_config().values()
    return (make or snntorch.surrogate.fast_sigmoid)(argument)


def of_spikingjelly(surrogate):
    from spikingjelly.activation_based import surrogate as theirs

    (argument,) = surrogate.get_config().values()
    if isinstance(surrogate, Triangle):
        return theirs.PiecewiseQuadratic(alpha=1 / argument)
    if isinstance(surrogate, FastSigmoid):  # theirs is alpha / 2 / (1 + |alpha u|)^2: the same for alpha = 2
        assert argument == 2
        return theirs.SoftSign(alpha=2.0)
    return {ATan: theirs.ATan, Sigmoid: theirs.Sigmoid}[type(surrogate)](alpha=argument)


def snntorch_neuron(snntorch, surrogate, reset):
    def make(beta, threshold):
        import torch

        beta, threshold = (torch.tensor(value, dtype=torch.float64) for value in (beta, threshold))
        spike = of_snntorch(snntorch, surrogate)
        neuron = snntorch.Leaky(beta, threshold, spike_grad=spike, reset_mechanism=reset, init_hidden=True)
        neuron.reset_mem()
        return neuron

    return make


def spikingjelly_neuron(surrogate, reset):
    from spikingjelly.activation_based import neuron

    def make(beta, threshold):
        shared = {
            "v_threshold": threshold, "v_reset": 0.0 if reset == "zero" else None,
            "surrogate_function": of_spikingjelly(surrogate), "detach_reset": True,
        }  # fmt: skip
        if beta == 1:
            return neuron.IFNode(**shared)
        return neuron.LIFNode(tau=1 / (1 - beta), decay_input=False, **shared)

    return make


def torch_synapse(synapse, weights):
    """The synapse as a function of (B, C, H, W) or of (B, N)."""
    import torch

    if synapse[0] == "dense":
        # our vectors are flattened with the channels last
        return lambda x: (x.permute(0, 2, 3, 1).flatten(1) if x.ndim == 4 else x) @ weights[synapse[1]]
    if synapse[0] == "conv":
        _, name, stride, padding = synapse
        return lambda x: torch.nn.functional.conv2d(
            x, weights[name].permute(3, 2, 0, 1), stride=stride, padding=padding
        )
    return lambda x: torch.nn.functional.avg_pool2d(x, synapse[1], synapse[2])


def in_torch(network, weights, inputs, neuron):
    """Outputs V[T] / T, the spikes of each node and step, and the gradients of sum((outputs - targets)^2).

    In double precision, so that rounding errors are those of one side.
    """
    import torch

    weights = {name: torch.tensor(w, dtype=torch.float64, requires_grad=True) for name, w in weights.items()}
    inputs = torch.tensor(np.moveaxis(inputs, -1, 2), dtype=torch.float64)
    nodes, beta, readout = network["nodes"], network["beta"], 0.0
    neurons = {n["name"]: neuron(beta if n["kind"] == "LIF" else 1.0, n["threshold"]) for n in nodes[:-1]}
    trains = {name: [] for name in neurons}
    for t in range(inputs.shape[1]):
        now = {"in": inputs[:, t]}
        for n in nodes:
            name = n["name"]
            current = sum(torch_synapse(i["synapse"], weights)(now[i["source"]]) for i in n["inputs"])
            if n is nodes[-1]:
                readout = beta * (readout + current)
            else:
                now[name] = neurons[name](current).double()  # snnTorch's spikes are float32
                trains[name].append(now[name].detach().numpy())
    outputs = readout / inputs.shape[1]
    loss = ((outputs - torch.eye(4, dtype=torch.float64)[[1, 3]]) ** 2).sum()
    loss.backward()
    trains = {name: np.stack(s, 1) for name, s in trains.items()}
    trains = {name: np.moveaxis(s, 2, -1) if s.ndim == 5 else s for name, s in trains.items()}
    return outputs.detach().numpy(), trains, {name: w.grad.numpy() for name, w in weights.items()}


def conv_and_pooling(beta):
    """Without ties: quarters of spikes and thresholds like this one never add up to it."""
    network, shapes = plain(beta)
    network["nodes"][1]["threshold"] = 0.7310585
    return network, shapes


def compare(make, neuron, surrogate, reset, beta, num_steps=9):
    network, weights, inputs, simulation = safe_case(
        make, beta, num_steps, reset=reset, surrogate=in_numpy(surrogate), readout_leak=True
    )
    outputs, trains, gradients = in_torch(network, weights, inputs, neuron)
    for name, train in trains.items():
        np.testing.assert_array_equal(train, simulation.spikes[name], err_msg=name)
    assert_close(outputs, simulation.outputs)
    rnn, names = build_rnn(
        network, weights, reset=reset, gradient="bptt", readout_leak=True, neuron={"surrogate": surrogate}
    )
    with tf.GradientTape() as tape:
        ours = rnn(inputs)
        loss = tf.reduce_sum((ours - np.eye(4)[[1, 3]]) ** 2)
    assert_close(ours, outputs)
    oracle = simulation.grad_bptt(2 * (simulation.outputs - np.eye(4)[[1, 3]]))
    for name, actual in zip(names, tape.gradient(loss, rnn.trainable_weights), strict=True):
        assert_close(actual, gradients[name], name, TOLERANCE)
        assert_close(oracle[name], gradients[name], name, TOLERANCE)


def cases(surrogates, betas_of_subtraction):
    """Of the convolutional network the first leak of each reset is in the fast set."""
    for surrogate in surrogates:
        for make in (conv_and_pooling, strided_residual):
            for reset, betas in (("zero", (0.8, 0.99, 1.0)), ("subtract", betas_of_subtraction)):
                for beta in betas:
                    marks = () if make is conv_and_pooling and beta == betas[0] else pytest.mark.slow
                    names = [repr(surrogate), make.__name__, reset, str(beta)]
                    yield pytest.param(surrogate, make, reset, beta, id="-".join(names), marks=marks)


@pytest.mark.parametrize(
    ("surrogate", "make", "reset", "beta"), cases([ATan(), Sigmoid(4.0), FastSigmoid(10.0)], betas_of_subtraction=[1.0])
)
def test_snntorch(snntorch, surrogate, make, reset, beta):
    compare(make, snntorch_neuron(snntorch, surrogate, reset), surrogate, reset, beta)


@pytest.mark.parametrize(
    ("surrogate", "make", "reset", "beta"),
    cases([Triangle(), ATan(), Sigmoid(), FastSigmoid(2.0)], betas_of_subtraction=[0.8, 0.99, 1.0]),
)
def test_spikingjelly(spikingjelly, surrogate, make, reset, beta):
    compare(make, spikingjelly_neuron(surrogate, reset), surrogate, reset, beta)


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_learned_leaks_and_thresholds(snntorch, reset):
    """By subtraction theirs takes the threshold from what has leaked: `LeakyCell` of examples/peer_cells.py."""
    import torch

    rng = np.random.default_rng(0)
    x, kernel = (rng.random((4, 15, 5)) < 0.5).astype("float32"), rng.normal(0.3, 0.4, (5, 3)).astype("float32")
    beta, threshold = [0.7, 0.9, 0.95], [0.6, 1.0, 1.7]
    values = [torch.tensor(value, dtype=torch.float64) for value in (beta, threshold)]
    neuron = snntorch.Leaky(*values, of_snntorch(snntorch, ATan()), learn_beta=True, learn_threshold=True,
                            reset_mechanism=reset, init_hidden=True)  # fmt: skip
    weight = torch.tensor(kernel, dtype=torch.float64, requires_grad=True)
    rates = sum(neuron(torch.tensor(x[:, t], dtype=torch.float64) @ weight).double() for t in range(15)) / 15
    (rates**2).sum().backward()
    expected = [parameter.grad.numpy() for parameter in (neuron.beta, neuron.threshold, weight)]

    cell = LeakyCell(
        keras.layers.Dense(3, use_bias=False), beta=beta, threshold=threshold, reset_mechanism=reset, surrogate=ATan(),
        learn_beta=True, learn_threshold=True,
    )  # fmt: skip
    rnn = ksbp.SpikingRNN(cell, gradient="bptt")
    rnn.build(x.shape)
    cell.synapse.set_weights([kernel])
    with tf.GradientTape() as tape:
        outputs = rnn(x)
        loss = tf.reduce_sum(outputs**2)
    assert_close(outputs, rates.detach().numpy())
    for actual, wanted in zip(tape.gradient(loss, rnn.trainable_weights), expected, strict=True):
        assert_close(actual, wanted, tolerance=TOLERANCE)


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_parametric_neurons(spikingjelly, reset):
    """`ParametricLIFCell` of examples/peer_cells.py, as docs/from-spikingjelly.md has it."""
    import torch

    rng = np.random.default_rng(0)
    x, kernel = rng.random((4, 15, 5)).astype("float32"), rng.normal(1.0, 0.6, (5, 3)).astype("float32")
    node = spikingjelly.neuron.ParametricLIFNode(
        3.0, v_reset=0.0 if reset == "zero" else None, surrogate_function=spikingjelly.surrogate.Sigmoid(4.0),
        detach_reset=True, step_mode="m",
    ).double()  # fmt: skip
    weight = torch.tensor(kernel, dtype=torch.float64, requires_grad=True)
    rates = node(torch.tensor(x.swapaxes(0, 1), dtype=torch.float64) @ weight).mean(0)
    (rates**2).sum().backward()
    q = float(torch.sigmoid(node.w.detach()))

    cell = ParametricLIFCell(
        keras.layers.Dense(3, use_bias=False), beta=1 - 1 / 3.0, reset_mechanism=reset, surrogate=Sigmoid(4.0)
    )
    revived = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(cell))
    for one in (cell, revived):
        rnn = ksbp.SpikingRNN(one, gradient="bptt")
        rnn.build(x.shape)
        one.synapse.set_weights([kernel])
        with tf.GradientTape() as tape:
            outputs = rnn(x)
            loss = tf.reduce_sum(outputs**2)
        of_beta, of_kernel = tape.gradient(loss, [one.beta, one.synapse.kernel])
        assert_close(outputs, rates.detach().numpy())
        assert_close(of_kernel, weight.grad.numpy(), tolerance=TOLERANCE)
        assert_close(-q * (1 - q) * of_beta, node.w.grad.numpy(), tolerance=TOLERANCE)
    assert 0.1 < float(rates.detach().mean()) < 0.9


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_the_next_smaller_threshold_fires_at_the_threshold(spikingjelly, reset):
    """As SpikingJelly does (docs/from-spikingjelly.md): potentials that are whole numbers meet a threshold of 2."""
    import torch

    x = np.random.default_rng(0).integers(0, 3, (4, 30, 5)).astype("float32")
    node = spikingjelly.neuron.IFNode(v_threshold=2.0, v_reset=0.0 if reset == "zero" else None, step_mode="m")
    theirs = node(torch.from_numpy(x.swapaxes(0, 1).copy())).numpy().swapaxes(0, 1)

    def ours(threshold):
        cell = ksbp.PoolingCell(keras.layers.Identity(), threshold=threshold, reset_mechanism=reset)
        return ksbp.SpikingRNN(cell, return_sequences=True)(x)

    np.testing.assert_array_equal(ours(np.nextafter(np.float32(2), np.float32(0))), theirs)
    assert np.mean(ours(2.0) != theirs) > 0.1


def test_snntorch_recurrent_and_synaptic(snntorch):
    """All to all, with a bias on the way back. Reset by subtraction, without leak of the potential: see above."""
    import torch

    num_steps, rng = 12, np.random.default_rng(3)
    shapes = {"w": (8, 10), "wb": (10, 10), "bb": (10,), "w2": (10, 4)}
    weights = {name: (rng.normal(size=shape) * 0.4).astype("float32") for name, shape in shapes.items()}
    inputs = (rng.random((2, num_steps, 8)) < 0.5).astype("float32")
    targets = np.eye(4)[[1, 3]]

    theirs = {name: torch.tensor(w, dtype=torch.float64, requires_grad=True) for name, w in weights.items()}
    neuron = snntorch.RSynaptic(
        alpha=torch.tensor(0.6, dtype=torch.float64), beta=1.0, threshold=1.0, spike_grad=of_snntorch(snntorch, ATan()),
        all_to_all=True, linear_features=10, reset_mechanism="subtract",
    ).double()  # fmt: skip
    with torch.no_grad():
        neuron.recurrent.weight.copy_(theirs["wb"].T)
        neuron.recurrent.bias.copy_(theirs["bb"])
    state = [torch.zeros(2, 10, dtype=torch.float64) for _ in range(3)]
    potential, train = 0.0, []
    for t in range(num_steps):
        current = torch.tensor(inputs[:, t], dtype=torch.float64) @ theirs["w"]
        spikes, *rest = neuron(current, *state)
        spikes = spikes.double()
        state = [spikes, *rest]
        train.append(spikes.detach().numpy())
        potential = potential + spikes @ theirs["w2"]
    outputs = potential / num_steps
    ((outputs - torch.tensor(targets)) ** 2).sum().backward()
    back = neuron.recurrent
    expected = [theirs["w"].grad, back.weight.grad.T, back.bias.grad, theirs["w2"].grad]
    assert np.mean(train) > 0.05

    cell = ksbp.LIFCell(
        keras.layers.Dense(10, use_bias=False), beta=1.0, reset_mechanism="subtract", surrogate=ATan(),
        synaptic_beta=0.6, name="hidden",
    )  # fmt: skip
    readout = ksbp.ReadoutCell(keras.layers.Dense(4, use_bias=False), beta=1.0)
    hidden = ksbp.RecurrentCell(cell, keras.layers.Dense(10))
    rnn = ksbp.SpikingRNN(ksbp.SequentialCell([hidden, readout]), gradient="bptt")
    rnn.build(inputs.shape)
    rnn.set_weights(list(weights.values()))
    with tf.GradientTape() as tape:
        ours = rnn(inputs)
        loss = tf.reduce_sum((ours - targets) ** 2)
    np.testing.assert_array_equal(rnn.observe(inputs)[1]["hidden"]["spike_count"], np.sum(train, 0))
    assert_close(ours, outputs.detach().numpy())
    for actual, of_torch in zip(tape.gradient(loss, rnn.trainable_weights), expected, strict=True):
        assert_close(actual, of_torch.numpy(), tolerance=TOLERANCE)
