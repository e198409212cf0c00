"""The factories of plain networks."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_spiking_bp as ksbp
from keras_spiking_bp.models import spiking_lenet, spiking_vgg


def test_lenet_is_the_paper_s():
    model = spiking_lenet(num_steps=4)
    assert model.count_params() == 517_500
    assert model.input_shape == (None, 28, 28, 1) and model.output_shape == (None, 10)
    cell = model.get_layer("time").cell
    assert [n.name for n in cell.neurons()] == ["conv1", "pool1", "conv2", "pool2", "fc1", "readout"]
    assert [getattr(n, "threshold", None) for n in cell.neurons()] == [1.0, 0.75, 1.0, 0.75, 1.0, None]
    assert {n.beta for n in cell.neurons() if not isinstance(n, ksbp.PoolingCell)} == {0.99}
    assert not any("bias" in w.path for w in model.weights)


def small(**kwargs):
    arguments = {"stages": [(4, 3), "pool"], "dense_units": [16], "num_steps": 5, **kwargs}
    return spiking_vgg((8, 8, 2), 3, **arguments, preset="paper")


@pytest.mark.parametrize("kernel_size", [2, 3, 4, 5])
def test_a_stage_with_strides_is_padded_on_all_sides(kernel_size):
    conv = small(stages=[(4, kernel_size, 2)]).get_layer("time").cell.cells[0].synapse
    conv.layers[-1].kernel.assign(tf.ones_like(conv.layers[-1].kernel))
    summed = conv(np.ones((1, 8, 8, 2), "float32")).numpy()
    assert summed.shape == (1, 4, 4, 4)
    if kernel_size % 2 == 0:  # else it reaches over the left and the upper border only
        np.testing.assert_array_equal(summed, summed[:, ::-1, ::-1])


def test_arguments_reach_the_cells():
    model = small(
        beta=0.9, threshold=0.5, dropout=0.2, gradient="bptt", pool_threshold=0.6, dtype="mixed_bfloat16",
        reset_mechanism="subtract", surrogate="atan", initial_membrane=0.25,
    )  # fmt: skip
    conv, pool, fc, readout = model.get_layer("time").cell.neurons()
    assert {type(n.surrogate) for n in (conv, pool, fc)} == {ksbp.surrogates.ATan}
    assert {n.initial_membrane for n in (conv, pool, fc)} == {0.25}
    assert (conv.beta, fc.beta, readout.beta) == (0.9, 0.9, 0.9)
    assert (conv.threshold, pool.threshold, fc.threshold) == (0.5, 0.6, 0.5)
    assert {n.reset_mechanism for n in (conv, pool, fc)} == {"subtract"}
    assert (conv.dropout, pool.dropout, fc.dropout) == (0.2, 0.0, 0.2)
    assert model.get_layer("time").gradient == "bptt"
    assert {n.synapse.compute_dtype for n in (conv, pool, fc, readout)} == {"bfloat16"}


@pytest.fixture
def channels_first():
    keras.config.set_image_data_format("channels_first")
    yield
    keras.config.set_image_data_format("channels_last")


def test_shapes_are_height_width_channels_whatever_the_configuration(channels_first):
    for pooling in ("neuron", "max"):
        assert small(pooling=pooling).count_params() == 9 * 2 * 4 + 4 * 4 * 4 * 16 + 16 * 3
    resnet = ksbp.models.spiking_resnet((8, 8, 2), 3, [(4, 2)], [], stem_filters=4, num_steps=2, preset="paper")
    assert resnet(np.zeros((1, 8, 8, 2), "float32")).shape == (1, 3)


def test_encoders():
    x = np.random.default_rng(0).random((2, 8, 8, 2), "float32")
    assert small(encoder=ksbp.ConstantEncoder(7), num_steps=None)(x).shape == (2, 3)
    spikes = small(encoder=None, num_steps=None)
    assert spikes.input_shape == (None, None, 8, 8, 2)
    for steps in (3, 6):
        assert spikes(np.ones((2, steps, 8, 8, 2), "float32")).shape == (2, 3)
    assert small(num_steps=None).get_layer("poisson_encoder").num_steps == 100


def test_a_seed_fixes_weights_and_spikes():
    x = np.random.default_rng(0).random((2, 8, 8, 2), "float32")
    a, b, c = (small(seed=seed, dropout=0.3) for seed in (2**63 - 1, 2**63 - 1, 2**63 - 2))
    outputs = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        outputs.append(small(dropout=0.3)(x, training=True))
    np.testing.assert_array_equal(*outputs)  # with no seed of its own, that of Keras
    np.testing.assert_array_equal(a(x, training=True), b(x, training=True))
    assert (a(x).numpy() != c(x).numpy()).any()
    first, second = (np.ravel(w)[:10] for w in a.trainable_weights[1:3])
    assert (first != second).all()
