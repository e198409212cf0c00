"""The weights that come with the package: what their card says, and what they are."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

import keras_spiking_bp as ksbp
from examples.experiments.pretrained import GRID, on_grid, packed, quantised
from examples.experiments.recipes import recipe
from examples.experiments.report import test as measure
from keras_spiking_bp.models import load_pretrained
from keras_spiking_bp.models.pretrained import unpack
from keras_spiking_bp.rnn.observe import traces
from tests.real_data import TFDS, needs


def test_quantisation_rounds_to_half_a_step_of_each_output_channel():
    weight = np.random.default_rng(0).normal(size=(3, 3, 2, 5)) * np.array([1, 10, 0.1, 0, 5])
    values, scale = quantised(weight)
    assert values.dtype == "int8" and scale.shape == (5,)
    assert (np.abs(values * scale - weight) <= 0.5001 * scale).all()
    largest = np.abs(values.astype(int)).max((0, 1, 2))
    assert ((largest > 63) == (largest > 0)).all() and largest[3] == 0
    np.testing.assert_array_equal(np.log2(scale), np.round(np.log2(scale)))


def normalised_network():
    stages = [(8, 3), "pool", (12, 3), "pool"]
    return ksbp.models.spiking_vgg(
        (8, 8, 1), 4, stages, [16], encoder=ksbp.ConstantEncoder(4), normalization="batch", pooling="average", seed=0
    )


def test_a_network_with_batch_normalisation_is_packed_whole():
    """Its statistics too; it gives what a network gives whose kernels were rounded."""
    rng = np.random.default_rng(0)
    model, rounded = normalised_network(), normalised_network()
    model.set_weights([np.abs(rng.normal(0.5, 0.3, w.shape)).astype("float32") for w in model.get_weights()])
    arrays = packed(model)
    assert sum(array.dtype == "int8" for array in arrays.values()) == 4  # two convolutions, fc1, readout
    assert sum("moving_variance" in key for key in arrays) == 3
    values = [w if w.ndim == 1 else np.multiply(*quantised(w)) for w in model.get_weights()]
    rounded.set_weights(values)
    unpack(restored := normalised_network(), arrays)
    images = rng.random((6, 8, 8, 1)).astype("float32")
    np.testing.assert_array_equal(restored(images), rounded(images))
    assert np.ptp(rounded(images)) > 0


def test_digits_are_read_at_once():
    """That they load and predict; how well is on the card (these digits may be among the training images)."""
    _, (digits, labels) = ksbp.datasets.mnist_5k()
    model = load_pretrained("mnist", num_steps=10, seed=0)
    assert (model(digits[:50]).numpy().argmax(-1) == labels[:50]).mean() > 0.95
    assert model.layers[1].scale == 0.5 and model.layers[1].num_steps == 10


def test_potentials_stay_away_from_thresholds():
    """So each runtime finds the same spikes, whatever the order of its sums."""
    model, card = load_pretrained("cifar10", num_steps=4), ksbp.models.model_card("cifar10")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3))
    seen = traces(model, ((pixels / 255 - card["mean"]) / card["scale"]).astype("float32"))
    assert len(seen) == 9 and all(trace["spikes"].any() for trace in list(seen.values())[:-1])
    for name, trace in list(seen.items())[:-1]:
        np.testing.assert_allclose(trace["membrane"] / GRID % 1, 0.5, atol=0.1, err_msg=name)


def test_on_a_grid_a_network_computes_the_same():
    """But for rounding, of the same images in other units."""
    rng = np.random.default_rng(0)
    pixels, mean, scale = rng.integers(0, 256, (50, 8, 8, 3)), np.array([0.5, 0.4, 0.3]), np.array([0.5, 0.6, 0.4])
    model = ksbp.models.spiking_vgg((8, 8, 3), 10, [(8, 3), "pool", (12, 3)], [16], beta=1.0, seed=0)
    for weight in model.weights:
        if weight.name in ("gamma", "beta", "moving_mean", "moving_variance"):
            weight.assign(rng.uniform(0.1, 0.9, weight.shape))
    before = model.predict(((pixels / 255 - mean) / scale).astype("float32"), verbose=0)
    on_grid(model, mean, scale)
    after = model.predict((pixels - 128) / np.float32(64), verbose=0)
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.95


def test_it_is_the_network_of_its_recipe():
    """What was trained and tested, with the weights of the package: every setting that affects a spike."""
    trained = recipe("lenet", "mnist", "fast").build((28, 28, 1), 10, num_steps=8, seed=0)
    model = load_pretrained("mnist", num_steps=8, seed=0)
    trained.set_weights(model.get_weights())
    images = np.random.default_rng(0).uniform(0, 0.9, (2, 28, 28, 1)).astype("float32")
    found = model(images)
    assert np.ptp(found, axis=0).max() > 0
    np.testing.assert_array_equal(found, trained(images))


@pytest.mark.slow
@needs(TFDS / "mnist")
@pytest.mark.parametrize("steps", ["25", "100"])
def test_the_card_is_right(steps):
    model = load_pretrained("mnist", int(steps), seed=0)
    data = ksbp.datasets.load_images("mnist", TFDS)
    stated = ksbp.models.model_card("mnist")["test_by_num_steps"][steps]["accuracy"]
    found = measure(model, data.test_batches(200))["accuracy"]
    assert found == pytest.approx(stated, abs=5e-4)  # sums in another order flip a spike here and there


@pytest.mark.parametrize(("name", "steps", "accuracy", "size"), [
    ("mnist", "100", 0.99, 550_000), ("cifar10", "4", 0.9, 7_000_000),
])  # fmt: skip
def test_the_card_is_of_these_weights(name, steps, accuracy, size):
    """Which nothing else tests where there are no images of the test set."""
    card, weights = ksbp.models.model_card(name), Path(ksbp.models.__file__).parent / "weights"
    content = (weights / f"{name}.npz").read_bytes()
    assert len(content) < size and hashlib.sha256(content).hexdigest() == card["sha256"]
    result = card["test_by_num_steps"][steps]
    assert result["samples"] == 10_000 and result["accuracy"] > accuracy
    assert abs(result["accuracy"] - card["accuracy_before_quantisation"]) < 0.01
    assert f"--dataset {name}" in card["trained_by"]


def test_what_is_given_is_kept():
    model = load_pretrained("mnist", 7, encoder="poisson", gradient="bptt")
    assert (model.layers[1].scale, model.layers[1].num_steps) == (1.0, 7)
    assert (
        model.get_layer("time").gradient == "bptt"
        and load_pretrained("mnist").get_layer("time").gradient == "accumulated"
    )


@pytest.mark.parametrize(("call", "error", "argument"), [
    (lambda: load_pretrained("imagenet"), ValueError, "name"),
    (lambda: ksbp.models.model_card("imagenet"), ValueError, "name"),
    (lambda: load_pretrained("mnist", beta=0.9), ValueError, "beta"),
    (lambda: load_pretrained("mnist", threshold=np.ones(3)), ValueError, "threshold"),
    (lambda: load_pretrained("mnist", synaptic_beta=0.9), ValueError, "synaptic_beta"),
    (lambda: load_pretrained("mnist", readout_beta=1.0), ValueError, "readout_beta"),
])  # fmt: skip
def test_refused(call, error, argument):
    with pytest.raises(error, match=argument):
        call()
