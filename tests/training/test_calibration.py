"""Each layer is brought to its rate."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from keras_spiking_bp.rnn.derivative import take_statistics
from keras_spiking_bp.rnn.observe import activity_of, firing_rates
from keras_spiking_bp.rnn.spiking_model import input_over_time
from tests.slow import slow

IMAGES = np.random.default_rng(0).uniform(-1, 1, (8, 8, 8, 2)).astype("float32")


def small(num_steps=12, **kwargs):
    stages = [(8, 3), "pool"]
    return ksbp.models.spiking_vgg((8, 8, 2), 4, stages, [24], num_steps=num_steps, seed=0, **kwargs, preset="paper")


def network(cell, *shape, gradient="accumulated"):
    """A model of one cell, or of several in a row, on sequences."""
    cell = ksbp.SequentialCell(cell) if isinstance(cell, list) else cell
    return keras.Sequential([keras.Input(shape), ksbp.SpikingRNN(cell, gradient)])


def spikes_of(*shape, below=2):
    return np.random.default_rng(0).integers(0, below, shape).astype("float32")


def rates(model, seed=5):
    """On spikes of a stream of its own."""
    steps = model.layers[1].num_steps
    return firing_rates(activity_of(model)(ksbp.PoissonEncoder(steps, seed=seed)(IMAGES)), steps)


def test_each_layer_fires_at_the_rate_and_scaling_is_all_that_happens():
    model, other, target = small(num_steps=25), small(num_steps=25), 0.2
    done = {layer.name: layer for layer in ksbp.calibrate(model, IMAGES, target)}
    now = rates(model)
    assert list(done) == ["conv1", "fc1"]
    for layer in done.values():
        assert layer.rate == pytest.approx(target, rel=0.05)
        assert now[layer.name] == pytest.approx(target, rel=0.3)  # other spikes of the same images
    for name, a, b in zip([*done, "readout"], model.get_weights(), other.get_weights(), strict=True):
        factor = done[name].factor if name in done else 1.0  # the readout stays
        np.testing.assert_array_equal(a, np.float32(factor) * b)


def test_batches_of_a_dataset_are_those_samples():
    batches = tf.data.Dataset.from_tensor_slices((IMAGES, np.arange(8))).batch(3)
    one, other = small(), small()
    assert ksbp.calibrate(one, batches) == ksbp.calibrate(other, IMAGES)
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_rate_before_is_that_with_the_preceding_layers_scaled(capsys):
    model, other = (small(encoder=ksbp.ConstantEncoder(12), num_steps=None) for _ in range(2))
    done = {layer.name: layer for layer in ksbp.calibrate(model, IMAGES, 0.2, verbose=1)}
    lines = capsys.readouterr().out.splitlines()
    assert [sum(f"{name}:" in line for line in lines) for name in done] == [1] * len(done)
    before = other.get_weights()
    (chosen,) = ksbp.calibrate(other, IMAGES, {"conv1": 0.2})
    assert chosen == done["conv1"]
    assert [(a != b).any() for a, b in zip(other.get_weights(), before, strict=True)] == [True, False, False]
    now = firing_rates(activity_of(other)(other.layers[1](IMAGES)), 12)
    assert done["fc1"].rate_before == pytest.approx(now["fc1"], rel=1e-6)
    assert done["fc1"].rate_before != pytest.approx(done["fc1"].rate, rel=0.1)


@pytest.mark.parametrize("make", [
    lambda: [keras.layers.Dense(3), keras.layers.BatchNormalization()],
    lambda: [keras.layers.Dense(8), keras.layers.BatchNormalization(scale=False),
             keras.layers.Dense(3, bias_initializer="ones")],
])  # fmt: skip
def test_the_spread_with_several_weights_in_the_readout(make):
    model = network([ksbp.LIFCell(keras.layers.Dense(20)), ksbp.ReadoutCell(keras.Sequential(make()))], 6, 7)
    spikes = spikes_of(32, 6, 7, below=4)
    ksbp.calibrate(model, spikes, 0.3, output_std=0.7, tolerance=0.3)
    assert np.std(model(spikes)) == pytest.approx(0.7, rel=1e-3)


def test_layers_before_a_potential_are_those_of_the_neurons_behind_it():
    pool = ksbp.ReadoutCell(keras.layers.AveragePooling2D(2), beta=0.5, name="pool")
    parts = [keras.layers.Conv2D(4, 3), pool, ksbp.LIFCell(keras.layers.Identity(), name="hidden")]
    model = network([*parts, keras.layers.Flatten(), ksbp.ReadoutCell(keras.layers.Dense(3))], 20, 8, 8, 1)
    images = np.random.default_rng(0).uniform(0, 1, (8, 20, 8, 8, 1)).astype("float32")
    (done,) = ksbp.calibrate(model, images, 0.2)
    assert done.name == "hidden" and done.factor != 1 and done.rate == pytest.approx(0.2, rel=0.05)


def test_constraints_are_applied_first():
    dense = keras.layers.Dense(20, use_bias=False, kernel_constraint=keras.constraints.NonNeg())
    model = network([ksbp.LIFCell(dense), ksbp.ReadoutCell(keras.layers.Dense(3))], 20, 8)
    assert (dense.kernel.numpy() < 0).any()
    allowed = np.maximum(dense.kernel.numpy(), 0)
    (done,) = ksbp.calibrate(model, spikes_of(8, 20, 8), 0.1)
    np.testing.assert_allclose(dense.kernel, done.factor * allowed, rtol=1e-6)


def test_frozen_synapses_stay():
    model = small()
    first = model.get_layer("time").cell.neurons()[0]
    first.synapse.trainable = False
    before = first.synapse.get_weights()
    assert first.name not in [layer.name for layer in ksbp.calibrate(model, IMAGES, 0.1, tolerance=0.3)]
    np.testing.assert_array_equal(first.synapse.get_weights(), before)


def test_an_interruption_restores(monkeypatch):
    model = small()
    before = model.get_weights()

    def interrupted(*_):
        assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))
        raise KeyboardInterrupt

    monkeypatch.setattr("keras_spiking_bp.training.calibration._check_kept", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ksbp.calibrate(model, IMAGES, 0.1, tolerance=0.3)
    np.testing.assert_equal(model.get_weights(), before)


def test_weights_behind_a_normalisation_are_scaled():
    norm = keras.layers.BatchNormalization()
    synapse = keras.Sequential([norm, keras.layers.Dense(20, bias_initializer="ones")])
    model = network([ksbp.LIFCell(synapse, name="hidden"), ksbp.ReadoutCell(keras.layers.Dense(3))], 20, 8)
    dense = synapse.layers[1].get_weights()
    (done,) = ksbp.calibrate(model, np.random.default_rng(0).uniform(0, 1, (8, 20, 8)).astype("float32"), 0.05)
    assert done.rate == pytest.approx(0.05, rel=0.05) and done.factor != 1
    for before, after in zip(dense, synapse.layers[1].get_weights(), strict=True):
        np.testing.assert_allclose(after, done.factor * before, rtol=1e-6)


def test_both_currents_of_a_junction_are_scaled():
    def make():
        return ksbp.models.spiking_resnet(
            (8, 8, 2), 4, [(6, 2)], [], num_steps=15, stem_filters=4, seed=0, preset="paper"
        )

    model, other = make(), make()
    done = {layer.name: layer.factor for layer in ksbp.calibrate(model, IMAGES, 0.1)}
    assert set(done) == {"stem", "block1_body", "block1_junction"}
    block, before = (m.get_layer("time").cell.cells[2] for m in (model, other))
    for part in ("junction.synapse", "shortcut"):
        a, b = block, before
        for name in part.split("."):
            a, b = getattr(a, name), getattr(b, name)
        np.testing.assert_array_equal(a.get_weights()[0], np.float32(done["block1_junction"]) * b.get_weights()[0])


def test_a_factor_between_the_last_two_that_are_allowed():
    """The rate 0.4, two spikes in five steps, only with weights near 0.18: 1 / 181."""
    dense = keras.layers.Dense(8, use_bias=False, kernel_initializer=keras.initializers.Constant(32.11))
    model = network(ksbp.LIFCell(dense, name="hidden"), 5, 4)
    (done,) = ksbp.calibrate(model, np.ones((8, 5, 4), "float32"), 0.4, verbose=0)
    assert done.rate == pytest.approx(0.4) and 1 / done.factor == pytest.approx(181, rel=0.1)


def test_a_network_inside_of_a_model():
    """As if it stood there itself: in a functional model, in a sequential one, and in one in one."""
    make = lambda: small(num_steps=4, encoder=ksbp.ConstantEncoder(4))  # noqa: E731
    inputs = keras.Input((8, 8, 2))
    halved = keras.layers.Rescaling(0.5)
    alone, inner = make(), make()
    inner.set_weights(alone.get_weights())
    model = keras.Sequential([keras.Input((8, 8, 2)), keras.Model(inputs, inner(halved(inputs)))])
    np.testing.assert_allclose(input_over_time(model)(2 * IMAGES), input_over_time(alone)(IMAGES))
    expected, done = ksbp.calibrate(alone, IMAGES, 0.2), ksbp.calibrate(model, 2 * IMAGES, 0.2)
    assert done == expected and len(done) == 2


def normalized(num_steps=6, **kwargs):
    return small(num_steps=num_steps, normalization="batch", pooling="average", **kwargs)


def norms_of(model):
    layers = model.get_layer("time").cell._flatten_layers()
    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]


def deviation(model, spikes):
    """How far moving statistics are from those that the network as it is now has on these spikes, at most."""
    norms = norms_of(model)
    before = [np.concatenate(norm.get_weights()[2:]) for norm in norms]
    take_statistics(model.get_layer("time"), spikes)
    after = [np.concatenate(norm.get_weights()[2:]) for norm in norms]
    return max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(after, before, strict=True))


def test_batch_normalization_keeps_rates_and_right_statistics():
    """Statistics and rates hold at the same time, kernels stay, and another walk changes nothing."""
    model, other = normalized(encoder=ksbp.ConstantEncoder(6)), normalized(encoder=ksbp.ConstantEncoder(6))
    spikes = input_over_time(model)(IMAGES)
    assert deviation(other, spikes) > 0.1  # of mean 0 and variance 1
    done = ksbp.calibrate(model, IMAGES, 0.15, output_std=0.7)
    assert [layer.name for layer in done] == ["conv1", "fc1"]
    now = firing_rates(activity_of(model)(spikes), 6)
    for layer in done:
        assert layer.rate == pytest.approx(0.15, rel=0.05)
        assert now[layer.name] == pytest.approx(layer.rate, rel=0.02)
    assert deviation(model, spikes) < 1e-3
    assert model(IMAGES).numpy().std() == pytest.approx(0.7, rel=0.02)
    for layer, norm in zip(done, norms_of(model), strict=True):
        np.testing.assert_allclose(norm.gamma, layer.factor, rtol=1e-6)
    kernels = [[v for v in m.trainable_weights if "kernel" in v.path][:-1] for m in (model, other)]  # not the readout's
    for a, b in zip(*kernels, strict=True):
        np.testing.assert_array_equal(a, b)


def test_batch_normalization_that_is_frozen():
    model = normalized()
    norms = norms_of(model)
    norms[0].trainable = False
    frozen = norms[0].get_weights()
    assert [layer.name for layer in ksbp.calibrate(model, IMAGES, 0.1, tolerance=0.3)] == ["fc1"]
    np.testing.assert_equal(norms[0].get_weights(), frozen)


def one_layer(synapse=None):
    """A model from spikes to the firing rates of one layer, all of whose neurons are alike."""
    synapse = synapse or keras.layers.Dense(8, kernel_initializer="ones", use_bias=False)
    return network(ksbp.LIFCell(synapse, name="hidden"), 5, 4)


def without_gamma():
    norm = keras.layers.BatchNormalization(scale=False)
    return one_layer(synapse=keras.Sequential([keras.layers.Dense(8), norm]))


def unweighted():
    hidden, readout = ksbp.LIFCell(keras.layers.Dense(20)), ksbp.ReadoutCell(keras.layers.Identity(), name="out")
    return network([hidden, readout], 6, 7)


def not_finite():
    model = small()
    model.set_weights([np.nan * weight for weight in model.get_weights()])
    return model


def normalisation_in_front():
    norm, cell = keras.layers.BatchNormalization(name="norm"), ksbp.LIFCell(keras.layers.Dense(5), name="hidden")
    return keras.Sequential([keras.Input((6, 7)), norm, ksbp.SpikingRNN(cell)])


def two_of_one_name():
    return network([ksbp.LIFCell(keras.layers.Dense(4), name="lif") for _ in range(2)], 5, 4)


def two_of_them():
    layers = [ksbp.SpikingRNN(ksbp.LIFCell(keras.layers.Dense(3)), return_sequences=True) for _ in range(2)]
    return keras.Sequential([keras.Input((6, 7)), *layers])


SEQUENCES, ONES = spikes_of(32, 6, 7, below=4), np.ones((8, 5, 4), "float32")
FEW = np.zeros((8, 5, 4), "float32")  # in a mostly silent input no weight makes all neurons fire
FEW[:2] = 1


@pytest.mark.parametrize(("make", "inputs", "arguments", "message"), [
    (small, IMAGES, {"firing_rate": "high"}, "`firing_rate` must be a number above 0 and below 1"),
    (small, IMAGES, {"firing_rate": {"conv1": 1.0}}, r"`firing_rate\['conv1'\]` must be a number above 0"),
    (small, IMAGES, {"firing_rate": {"pool1": 0.1}}, r"must name spiking layers .* Received: \['pool1'\]"),
    (small, IMAGES, {"tolerance": 1.0}, "`tolerance` must be"),
    (small, IMAGES, {"output_std": 0.0}, "`output_std` must be a number above 0"),
    (small, IMAGES[0], {}, r"The inputs must have the shape .* Received: \(8, 8, 2\).*a batch of one"),
    (small, 0 * IMAGES, {}, r"Layer 'conv1' cannot be brought to `firing_rate` 0.1: it fires at 0 with"),
    (small, 0 * IMAGES, {"firing_rate": {}, "output_std": 0.7}, "`output_std` cannot be reached"),
    (not_finite, IMAGES, {}, "must have finite weights.*conv1.*kernel"),
    slow((normalized, IMAGES, {"firing_rate": {"conv1": 0.2, "fc1": 1e-9}}, "Layer 'fc1' cannot be brought")),
    (one_layer, FEW, {"firing_rate": 0.5}, r"'hidden' cannot be brought to .* 0.5: it fires at 0\.25 "),
    (one_layer, ONES, {"firing_rate": 0.3}, "`firing_rate` 0.3: it fires at 0.[24] .*, 0.[24] .* of 5 time steps"),
    (one_layer, ONES, {"firing_rate": 0.2, "output_std": 1.0}, "`output_std` needs a network that ends in a Read"),
    (without_gamma, spikes_of(8, 5, 4), {}, "'hidden' cannot be brought"),
    (two_of_one_name, ONES, {"firing_rate": {}}, r"stand for more than one: \['lif'\]"),
    (unweighted, SEQUENCES, {"output_std": 1.0}, "`output_std` cannot be reached.*'out'"),
    (normalisation_in_front, SEQUENCES, {}, "without statistics in front of its SpikingRNN. Received: .*norm"),
    (two_of_them, SEQUENCES, {}, "must have one SpikingRNN layer"),
])  # fmt: skip
def test_what_is_refused_leaves_weights_and_statistics_as_they_were(make, inputs, arguments, message):
    model = make()
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        ksbp.calibrate(model, inputs, **arguments)
    np.testing.assert_equal(model.get_weights(), before)


def test_a_model_without_spikes_is_refused():
    with pytest.raises(TypeError, match="must have a SpikingRNN"):
        ksbp.calibrate(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]), np.ones((4, 3)), 0.1)


def test_the_highest_rate_can_be_reached():
    (done,) = ksbp.calibrate(one_layer(), FEW, 0.25)
    assert done.rate == pytest.approx(0.25, rel=0.05)
