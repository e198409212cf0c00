"""The paper's networks: sizes, weights, gradients, saving; what each factory refuses."""

import itertools

import keras
import numpy as np
import pytest

import keras_spiking_bp as ksbp
from tests.oracle import SAFE_MARGIN, compare, draw, node
from tests.reference import Simulation

WEIGHTS = {  # those of LeNet, VGG9 and ResNet11 follow from the paper; the others are summed by hand from the layers
    "spiking_lenet": 25 * 20 + 25 * 20 * 50 + 7 * 7 * 50 * 200 + 200 * 10,
    "spiking_vgg7": 9 * (3 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256) + 16 * 256 * 1024 + 10240,
    "spiking_vgg9": 5_938_880,
    "spiking_resnet7": 9 * (3 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 256 * 256)
    + (64 * 128 + 128 * 256)
    + 16 * 256 * 1024
    + 10240,
    "spiking_resnet9": 9 * (3 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 256 * 256 + 256 * 512 + 512 * 512)
    + (64 * 128 + 128 * 256 + 256 * 512)
    + 16 * 512 * 1024
    + 10240,
    "spiking_resnet11": 17_936_064,
    "spiking_resnet20": 9 * (3 * 32 + 6 * 32 * 32 + 32 * 64 + 5 * 64 * 64 + 64 * 128 + 5 * 128 * 128)
    + (32 * 64 + 64 * 128)
    + 16 * 128 * 10,
}
FACTORIES = {name: getattr(ksbp.models, name) for name in WEIGHTS}


@pytest.mark.parametrize("name", WEIGHTS)
def test_number_of_weights_and_their_initial_values(name):
    model = FACTORIES[name](preset="paper", num_steps=3, seed=4, name="mine")
    assert model.name == "mine" and model.count_params() == WEIGHTS[name]
    kappa = 1 if name in ("spiking_resnet7", "spiking_resnet9", "spiking_resnet11") else 2
    for weight in model.trainable_weights:
        values = weight.numpy()
        if values.size > 10_000:
            expected = np.sqrt(kappa / np.prod(values.shape[:-1]))
            assert values.std() == pytest.approx(expected, rel=0.03)
    draws = [w.numpy().ravel()[:500] for w in model.trainable_weights if w.shape.num_elements() >= 500]
    assert all(abs(np.corrcoef(a, b)[0, 1]) < 0.3 for a, b in itertools.pairwise(draws))


def compare_with_simulation(model, network, shapes, gradient):
    for seed in range(500):
        weights, inputs, _ = draw(shapes, network, seed, num_steps=20)
        simulation = Simulation(network, weights, inputs)
        if simulation.margin > SAFE_MARGIN / 3 and all(s.any() for s in list(simulation.spikes.values())[:-1]):
            break
    else:
        raise AssertionError("no safe case found")
    names = list(shapes)
    for variable, name in zip(model.trainable_weights, names, strict=True):
        variable.assign(weights[name])
    compare(model, names, inputs, simulation, gradient, tolerance=5e-6)


def test_gradients_of_a_residual_network():
    """Stem, pool, [6, stride 1], [6, stride 2, sub-sampling shortcut], [8, stride 2], readout; against the oracle."""
    network = {
        "beta": 0.95,
        "input_shape": [12, 12, 2],
        "nodes": [
            node("stem", "LIF", 0.9, ("in", "conv", "k0", 1, 1)),
            node("pool", "IF", 0.75, ("stem", "avg", 2, 2)),
            node("a1", "LIF", 0.9, ("pool", "conv", "k1", 1, 1)),
            node("b1", "LIF", 0.9, ("a1", "conv", "k2", 1, 1), ("pool", "conv", "s1", 1, 0)),
            node("a2", "LIF", 0.9, ("b1", "conv", "k3", 1, 1)),
            node("b2", "LIF", 0.9, ("a2", "conv", "k4", 2, 1), ("b1", "avg", 1, 2)),
            node("a3", "LIF", 0.9, ("b2", "conv", "k5", 1, 1)),
            node("b3", "LIF", 0.9, ("a3", "conv", "k6", 2, 1), ("b2", "conv", "s3", 2, 0)),
            node("out", "readout", None, ("b3", "dense", "w")),
        ],
    }
    shapes = {
        "k0": (3, 3, 2, 4), "k1": (3, 3, 4, 6), "k2": (3, 3, 6, 6), "s1": (1, 1, 4, 6), "k3": (3, 3, 6, 6),
        "k4": (3, 3, 6, 6), "k5": (3, 3, 6, 8), "k6": (3, 3, 8, 8), "s3": (1, 1, 6, 8), "w": (32, 4),
    }  # fmt: skip
    model = ksbp.models.spiking_resnet(
        (12, 12, 2), 4, [(6, 1), (6, 2), (8, 2)], [], stem_filters=4, encoder=None, num_steps=20,
        beta=0.95, threshold=0.9, preset="paper",
    )  # fmt: skip
    compare_with_simulation(model, network, shapes, "accumulated")


def test_gradients_of_blocks_that_add_spikes():
    """A kernel after a sum sees the spikes of all its terms: in the oracle, one synapse from each, of one kernel."""
    sums = {"block1": ("b1", "s1"), "block2": ("b1", "s1", "b2"), "block3": ("b3", "s3")}
    network = {
        "beta": 0.95,
        "input_shape": [12, 12, 2],
        "nodes": [
            node("stem", "LIF", 0.9, ("in", "conv", "k0", 1, 1)),
            node("pool", "IF", 0.75, ("stem", "avg", 2, 2)),
            node("a1", "LIF", 0.9, ("pool", "conv", "k1", 1, 1)),
            node("b1", "LIF", 0.9, ("a1", "conv", "k2", 1, 1)),
            node("s1", "LIF", 0.9, ("pool", "conv", "p1", 1, 0)),
            node("a2", "LIF", 0.9, *((term, "conv", "k3", 1, 1) for term in sums["block1"])),
            node("b2", "LIF", 0.9, ("a2", "conv", "k4", 1, 1)),
            node("a3", "LIF", 0.9, *((term, "conv", "k5", 1, 1) for term in sums["block2"])),
            node("b3", "LIF", 0.9, ("a3", "conv", "k6", 2, 1)),
            node("s3", "LIF", 0.9, *((term, "conv", "p3", 2, 0) for term in sums["block2"])),
            node("out", "readout", None, *((term, "dense", "w") for term in sums["block3"])),
        ],
    }
    shapes = {
        "k0": (3, 3, 2, 4), "k1": (3, 3, 4, 6), "k2": (3, 3, 6, 6), "p1": (1, 1, 4, 6), "k3": (3, 3, 6, 6),
        "k4": (3, 3, 6, 6), "k5": (3, 3, 6, 8), "k6": (3, 3, 8, 8), "p3": (1, 1, 6, 8), "w": (72, 4),
    }  # fmt: skip
    model = ksbp.models.spiking_resnet(
        (12, 12, 2), 4, [(6, 1), (6, 1), (8, 2)], [], residual="spikes", stem_filters=4, encoder=None, num_steps=20,
        beta=0.95, threshold=0.9, gradient="bptt", preset="paper",
    )  # fmt: skip
    compare_with_simulation(model, network, shapes, "bptt")


def test_blocks_that_add_spikes_with_batch_normalisation():
    model = ksbp.models.spiking_resnet(
        (8, 8, 2), 4, [(6, 1), (8, 2)], [12], residual="spikes", stem_filters=4, num_steps=4, normalization="batch",
        pooling="average",
    )  # fmt: skip
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) == 1 + 2 * 2 + 2 + 1 and all((norm.gamma.numpy() == 1).all() for norm in norms)


def test_a_shortcut_of_spikes_takes_every_so_many_pixels():
    model = ksbp.models.spiking_resnet(
        (8, 8, 1), 3, [(4, 2)], [], residual="spikes", stem_filters=4, num_steps=3, preset="paper"
    )
    cell = model.get_layer("time").cell
    sources = dict(zip([layer.name for layer in cell.layers], cell.sources, strict=True))
    shortcut = next(layer for layer in cell.layers if layer.name == "block1_shortcut")
    pixels = np.arange(64, dtype="float32").reshape(1, 8, 8, 1)
    np.testing.assert_array_equal(shortcut(pixels), pixels[:, ::2, ::2])
    assert sources["block1_shortcut"] == ["pool1"] and sources["block1"] == ["block1_second", "block1_shortcut"]


def test_the_sum_of_two_normalised_currents_has_unit_variance_at_the_start():
    model = ksbp.models.spiking_resnet(
        (12, 12, 3), 4, [(24, 1), (24, 2), (32, 2)], [], stem_filters=16, num_steps=4, encoder=None,
        normalization="batch", pooling="average", threshold=1.0, seed=0, preset="paper",
    )  # fmt: skip
    blocks = [cell for cell in model.get_layer("time").cell.cells if isinstance(cell, ksbp.ResidualCell)]
    rng = np.random.default_rng(0)
    for block in blocks:
        spikes = (rng.random((512, *block.input_shape_of_step)) < 0.3).astype("float32")
        body = (rng.random((512, *block.body.output_shape_of_step)) < 0.3).astype("float32")
        current = block.junction.synapse(body, training=True)
        if isinstance(block.shortcut, keras.Sequential):  # with weights, and normalised
            current += block.shortcut(spikes, training=True)
        np.testing.assert_allclose(np.var(current, axis=(0, 1, 2)), 1.0, atol=0.1)
    assert [isinstance(block.shortcut, keras.Sequential) for block in blocks] == [True, False, True]


@pytest.mark.parametrize("make", [ksbp.models.spiking_vgg, ksbp.models.spiking_resnet])
def test_the_readout(make):
    def readout(**arguments):
        layers = {"stages": [(4, 3)]} if make is ksbp.models.spiking_vgg else {"blocks": [(4, 1)]}
        model = make((8, 8, 2), 3, **layers, dense_units=[], preset="paper", num_steps=2, **arguments)
        return model.get_layer("time").cell.neurons()[-1]

    for beta in (0.25, 1.0):
        assert readout(beta=0.5, readout_beta=beta).beta == beta
    assert readout().beta == ksbp.LIFCell(keras.layers.Dense(1)).beta
    assert readout(surrogate="atan", gradient="bptt").differentiate_leak
    for paper in ({}, {"gradient": "bptt"}, {"surrogate": "atan"}):
        assert not readout(**paper).differentiate_leak


@pytest.mark.slow
@pytest.mark.parametrize("name", ["spiking_vgg9", "spiking_resnet11", "spiking_resnet20"])
def test_full_size(name, tmp_path):
    """As it is: builds, is calibrated, trains, is saved and reloaded."""
    model = FACTORIES[name](encoder=None, num_steps=12, seed=0, dropout=0.1, dtype="mixed_bfloat16")
    spikes = np.random.default_rng(0).integers(-1, 2, (4, *model.input_shape[1:])).astype("float32")
    ksbp.calibrate(model, spikes, 0.15)
    model.compile(keras.optimizers.SGD(0.001, momentum=0.9), ksbp.losses.SparseSumSquaredError())
    before = model.get_weights()
    model.fit(spikes, np.arange(4), batch_size=4, epochs=2, verbose=0)
    assert all((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))
    assert {w.dtype for w in model.weights} == {"float32"}
    expected = model.predict(spikes, verbose=0)
    assert np.isfinite(expected).all() and np.abs(expected).max() > 0.01
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(spikes, verbose=0), expected)


def vgg9(**arguments):
    return ksbp.models.spiking_vgg9(**{"num_steps": 2, **arguments}, preset="paper")


def vgg(stages=((4, 3),), dense_units=(), **arguments):
    return ksbp.models.spiking_vgg((8, 8, 1), 2, stages, dense_units, **arguments, preset="paper")


def resnet(blocks, **arguments):
    return ksbp.models.spiking_resnet((8, 8, 1), 2, blocks, [], **arguments, preset="paper")


@pytest.mark.parametrize(("call", "error", "argument"), [
    (lambda: vgg9(input_shape=(4, 4, 3)), ValueError, "input_shape"),
    (lambda: vgg9(input_shape=(None, 32, 3)), ValueError, "input_shape"),
    (lambda: vgg9(input_shape=(28, 28)), ValueError, "input_shape"),
    (lambda: vgg9(seed="a"), ValueError, "seed"),
    (lambda: vgg9(encoder=keras.layers.Flatten()), TypeError, "encoder"),
    (lambda: vgg9(encoder=ksbp.PoissonEncoder(7)), ValueError, "num_steps"),
    (lambda: resnet([(4, 1)], residual="sum"), ValueError, "residual"),
    (lambda: vgg(["pooling"]), ValueError, "stages"),
    (lambda: vgg([("a", 3)]), ValueError, "stages"),
])  # fmt: skip
def test_refused(call, error, argument):
    with pytest.raises(error, match=argument):
        call()
