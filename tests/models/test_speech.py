"""The network for spoken digits, and its packaged weights."""

import hashlib
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_spiking_bp as ksbp
from keras_spiking_bp.models import load_pretrained, model_card, spiking_speech
from tests.real_data import TFDS, needs

WEIGHTS = Path(ksbp.models.__file__).parent / "weights"


def test_each_neuron_learns_its_leak():
    model = spiking_speech(units=8, seed=0)
    cell = model.get_layer("time").cell.cells[0].cell
    before = cell.beta.numpy()
    np.testing.assert_allclose(-1 / np.log(before[[0, -1]]), [1, 50], rtol=1e-5)
    series, labels = np.random.default_rng(0).normal(size=(16, 12, 40)).astype("float32"), np.arange(16) % 10
    ksbp.calibrate(model, series, firing_rate=0.2, output_std=0.7)
    model.compile(keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    first, *_, last = model.fit(series, labels, epochs=20, verbose=0).history["loss"]
    assert last < 0.8 * first
    assert np.ptp(cell.beta.numpy() - before) > 0


def test_silence_before_a_word_costs_nothing():
    series = np.random.default_rng(0).normal(0, 0.3, (1, 150, 40)).astype("float32")
    series[:, :100] = 0
    (spikes,) = ksbp.analysis.run(load_pretrained("spoken_digits"), series, verbose=0).spikes.values()
    assert not spikes[0, :100].any() and spikes[0, 100:].sum() > 500


def masked(model):
    series = keras.Input((None, 40))
    return keras.Model(series, model.get_layer("time")(keras.layers.Masking(-1.0)(series)))


def test_the_packaged_weights_are_those_of_the_card():
    card, content = model_card("spoken_digits"), (WEIGHTS / "spoken_digits.npz").read_bytes()
    assert len(content) < 100_000 and hashlib.sha256(content).hexdigest() == card["sha256"]
    assert card["test"]["samples"] == 250 and card["test"]["accuracy"] >= 0.98
    assert load_pretrained("spoken_digits").count_params() < 100_000


@pytest.mark.slow
@needs(TFDS / "spoken_digit")
def test_the_card_is_right():
    _, test = ksbp.datasets.load_spoken_digits(TFDS)
    model = masked(load_pretrained("spoken_digits"))
    right = model.predict(test.series, verbose=0).argmax(-1) == test.labels
    assert right.mean() == pytest.approx(model_card("spoken_digits")["test"]["accuracy"], abs=0.005)
