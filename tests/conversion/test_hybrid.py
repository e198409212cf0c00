"""What a converted network is trained on with, and what is kept of the ANN."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_spiking_bp as ksbp
from tests.conversion.test_convert import trained_looking
from tests.slow import slow

X = np.random.default_rng(0).uniform(0, 1, (16, 6)).astype("float32")


def two_hidden():
    hidden = [layers.Dense(12, activation="relu") for _ in range(2)]
    return trained_looking(keras.Sequential([keras.Input((6,)), *hidden, layers.Dense(3)]))


def gradients(model, targets):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((model(X, training=True) - targets) ** 2)
    kernels = [weight for weight in model.trainable_weights if weight.name == "kernel"]
    return [np.asarray(gradient).ravel() for gradient in tape.gradient(loss, [kernel.value for kernel in kernels])]


def cosines(some, others):
    return [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(some, others, strict=True)]


@pytest.mark.parametrize("reset", ["subtract", slow("zero")])
def test_both_rules_go_on_with_the_gradient_of_the_ann(reset):
    """With many steps: a current counts for the next spike, not for all later ones."""
    ann = two_hidden()
    targets = np.asarray(ann(X)) + np.random.default_rng(1).normal(0, 0.5, (16, 3))
    convert = functools.partial(ksbp.convert_to_snn, ann, X, 100, percentile=100, reset_mechanism=reset)
    totals, steps = (gradients(convert(gradient=rule), targets) for rule in ("accumulated", "bptt"))
    assert min(cosines(totals, steps)) > 0.98
    for one, other in zip(totals, steps, strict=True):
        assert np.linalg.norm(one) == pytest.approx(np.linalg.norm(other), rel=0.2)
    if reset == "subtract":  # a reset to zero loses what is above the threshold
        assert min(cosines(steps, gradients(ann, targets))) > 0.97


def test_constraints_and_regularizers_of_the_old_weights_are_not_put_on_the_new_ones():
    keras.utils.set_random_seed(0)
    constraints = {"kernel_constraint": keras.constraints.UnitNorm(), "bias_constraint": "non_neg"}
    constraints |= {"kernel_regularizer": "l2", "bias_regularizer": "l1"}
    hidden = layers.Dense(5, activation="relu", **constraints)
    model = ksbp.convert_to_snn(keras.Sequential([keras.Input((6,)), hidden, layers.Dense(3)]), X, 50)
    assert not model.losses
    assert len(model.trainable_weights) == 4 and all(weight.constraint is None for weight in model.trainable_weights)


def test_frozen_layers_stay_frozen():
    parts = [layers.SeparableConv2D(3, 3, activation="relu"), layers.Conv2D(3, 1, activation="relu"), layers.Flatten()]
    ann = keras.Sequential([keras.Input((6, 6, 2)), *parts, layers.Dense(3)])
    for part in parts:
        part.trainable = False
    images = np.random.default_rng(0).uniform(0, 1, (4, 6, 6, 2)).astype("float32")
    snn = ksbp.convert_to_snn(ann, images, 5, percentile=100)
    assert [weight.shape for weight in snn.trainable_weights] == [(48, 3), (3,)]
