"""The weights that come with the package: what their card says, and what they are."""

from pathlib import Path

import keras
import numpy as np
import pytest

import keras_spiking_bp as ksbp
from examples.reproduce import test as measure
from keras_spiking_bp.models.pretrained import quantised

REAL = Path(__file__).parents[3] / "shared" / "data" / "tfds"


def test_quantisation_rounds_to_half_a_step_of_each_output_channel():
    weight = np.random.default_rng(0).normal(size=(3, 3, 2, 5)) * np.array([1, 10, 0.1, 0, 5])
    values, scale = quantised(weight)
    assert values.dtype == "int8" and scale.shape == (5,)
    assert (np.abs(values * scale - weight) <= 0.5001 * scale).all()
    assert np.abs(values).max((0, 1, 2)).tolist() == [127, 127, 127, 0, 127]


def test_digits_are_read_at_once():
    """That they load and predict; how well is on the card (these digits may be among the training images)."""
    _, (digits, labels) = ksbp.datasets.mnist_5k()
    model = ksbp.models.spiking_lenet(num_steps=25, weights="mnist", seed=0)
    outputs = model.predict(digits[:300], batch_size=100, verbose=0)
    assert (outputs.argmax(-1) == labels[:300]).mean() > 0.97
    assert model.layers[1].scale == 0.5 and model.layers[1].num_steps == 25


def test_another_encoder_is_taken():
    model = ksbp.models.spiking_lenet(weights="mnist", encoder=ksbp.ConstantEncoder(15, scale=0.5))
    _, (digits, labels) = ksbp.datasets.mnist_5k()
    outputs = model.predict(digits[:200], batch_size=100, verbose=0)
    assert (outputs.argmax(-1) == labels[:200]).mean() > 0.9


def test_the_card_tells_what_was_measured():
    card = ksbp.models.model_card("mnist")
    result = card["test_by_num_steps"]["100"]
    assert result["samples"] == 10_000 and result["accuracy"] > 0.99
    assert card["recipe"]["network"] == "lenet" and "--dataset mnist" in card["trained_by"]
    weights = Path(ksbp.models.__file__).parent / "weights" / "lenet_mnist.npz"
    assert weights.stat().st_size < 550_000


@pytest.mark.slow
@pytest.mark.skipif(not (REAL / "mnist").exists(), reason="no prepared MNIST in ../shared/data/tfds")
@pytest.mark.parametrize("steps", ["25", "100"])
def test_the_card_is_right(steps):
    model = ksbp.models.spiking_lenet(num_steps=int(steps), weights="mnist", seed=0)
    data = ksbp.datasets.load_images("mnist", REAL)
    stated = ksbp.models.model_card("mnist")["test_by_num_steps"][steps]["accuracy"]
    found = measure(model, data.test_batches(200))["accuracy"]
    assert found == pytest.approx(stated, abs=5e-4)  # sums in another order flip a spike here and there


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`weights` must be one of .*'imagenet'"):
        ksbp.models.spiking_lenet(weights="imagenet")
    with pytest.raises(ValueError, match=r"were trained with \{'beta': 0.99, .*Received: \{'beta': 0.9\}"):
        ksbp.models.spiking_lenet(weights="mnist", beta=0.9)
    with pytest.raises(ValueError, match="`weights='mnist'` fits a network"):
        ksbp.models.spiking_lenet((32, 32, 1), weights="mnist")
    with pytest.raises(ValueError, match="`name` must be one of"):
        ksbp.models.model_card("cifar10")


def test_it_trains_on_and_saves(tmp_path):
    model = ksbp.models.spiking_lenet(num_steps=5, weights="mnist", seed=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for a, b in zip(model.trainable_weights, loaded.trainable_weights, strict=True):
        np.testing.assert_array_equal(a, b)
