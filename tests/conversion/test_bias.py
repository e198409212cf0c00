"""Calibration of biases: which of them may be changed, and how much memory it takes."""

import gc

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_spiking_bp as ksbp
from keras_spiking_bp.conversion import bias
from keras_spiking_bp.conversion.read import read
from keras_spiking_bp.conversion.rewrite import normal_form
from tests.conversion.test_convert import trained_looking
from tests.conversion.test_kinds_of_networks import dense_block, inception, preactivated
from tests.slow import slow, slow_except

IMAGES = np.random.default_rng(0).uniform(0, 1, (6, 8, 8, 3)).astype("float32")


@pytest.mark.parametrize(
    "between, changed",
    [
        (layers.ZeroPadding2D(1), False),  # the neurons at its places get no bias
        (layers.Permute((3, 1, 2)), False),  # the channels are elsewhere
        (layers.Reshape((4, 16, 8)), True),
        (layers.Cropping2D(1), True),
        (layers.AveragePooling2D(2), True),
    ],
)
def test_a_bias_is_changed_only_if_it_reaches_each_neuron_of_its_channel(between, changed):
    conv = layers.Conv2D(8, 3, padding="same", name="before")
    parts = [keras.Input((8, 8, 3)), conv, between, layers.ReLU(), layers.Flatten(), layers.Dense(3)]
    ann = trained_looking(keras.Sequential(parts))

    def bias_before(calibrate_biases):
        snn = ksbp.convert_to_snn(ann, IMAGES, 4, calibrate_biases=calibrate_biases)
        return next(weight for weight in snn.weights if "bias" in weight.path and weight.shape == (8,)).numpy()

    assert (np.abs(bias_before(True) - bias_before(False)).max() > 1e-4) == changed


def test_a_bias_of_one_channel_that_is_added_to_all_is_left():
    inputs = keras.Input((8, 8, 3))
    one, all_three = layers.Conv2D(1, 1, name="one")(inputs), layers.Conv2D(3, 1, name="all")(inputs)
    x = layers.ReLU(name="sum")(layers.Add()([one, all_three]))
    graph = read(keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x))))
    assert bias._holder(graph, "sum") == "all"


def held_numbers():
    """How many numbers all tensors hold, those that share memory once."""
    sizes = {}
    gc.collect()
    for tensor in gc.get_objects():
        if isinstance(tensor, tf.Tensor) and hasattr(tensor, "_numpy") and tensor.dtype in (tf.float32, tf.int8):
            array = tensor._numpy()
            if isinstance(array, np.ndarray):
                place = array.__array_interface__["data"][0]
                sizes[place] = max(sizes.get(place, 0), array.size)
    return sum(sizes.values())


@pytest.mark.parametrize("build", slow_except([dense_block, inception, preactivated], dense_block))
@pytest.mark.parametrize("encoder", [ksbp.ConstantEncoder, slow(ksbp.PoissonEncoder)])
def test_no_more_is_held_at_once_than_is_counted(build, encoder, monkeypatch):
    inputs = keras.Input((8, 8, 3))
    ann = trained_looking(keras.Model(inputs, build(inputs)))
    steps, concat, found = 16, tf.concat, []

    def and_count(values, *args, **kwargs):
        value = concat(values, *args, **kwargs)
        found.append(held_numbers())
        return value

    def counted_too(*args):
        before = held_numbers()
        monkeypatch.setattr(tf, "concat", and_count)
        result = correct_biases(*args)
        monkeypatch.setattr(tf, "concat", concat)
        found.append(before)
        return result

    correct_biases = bias.correct_biases
    monkeypatch.setattr("keras_spiking_bp.conversion.convert.correct_biases", counted_too)
    ksbp.convert_to_snn(ann, IMAGES, encoder=encoder(steps), calibrate_biases=True)
    graph = read(ann)
    normal_form(graph)
    encoded = steps * IMAGES.size
    held = (max(found[:-1]) - found[-1] + encoded) / (steps * len(IMAGES))
    counted = bias.numbers_at_once(graph)
    assert 0.3 * counted < held <= counted


def test_how_many_images_fit():
    inputs = keras.Input((8, 8, 3))
    graph = read(trained_looking(keras.Model(inputs, dense_block(inputs))))
    normal_form(graph)
    images = np.zeros((200, 1))
    fitting = 2**29 // bias.numbers_at_once(graph)  # of one step
    assert len(bias.images_for(graph, images, 4)) == 128
    assert len(bias.images_for(graph, images, fitting // 50)) == 50
    assert len(bias.images_for(graph, images, 2 * fitting)) == 1
