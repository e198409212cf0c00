"""Networks of `keras.applications`, with random weights and statistics, beside what they compute."""

import keras
import numpy as np
import pytest

import keras_spiking_bp as ksbp
from tests.conversion.limit import in_the_limit

SIDES = {"InceptionV3": 75, "Xception": 71}


def ann_of(name, seed=0):
    """Without its softmax; its normalisations have the statistics of the images, then some more."""
    side = SIDES.get(name, 32)
    keras.utils.set_random_seed(seed)
    ann = getattr(keras.applications, name)(
        weights=None, input_shape=(side, side, 3), classes=10, classifier_activation=None
    )
    images = np.random.default_rng(seed).uniform(0, 1, (4, side, side, 3)).astype("float32")
    rng = np.random.default_rng(1)
    for layer in ann.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # so that one call gives them those of the images
        elif isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
            layer.kernel.assign(2**0.5 * layer.kernel)  # else nothing comes through a deep VGG
    ann(images, training=True)
    for variable in ann.weights:
        if "gamma" in variable.path:
            variable.assign(rng.uniform(0.7, 1.3, variable.shape))
        elif "beta" in variable.path or "bias" in variable.path:
            variable.assign(rng.normal(0, 0.1, variable.shape))
    return ann, images


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["VGG16", "VGG19", "ResNet50", "ResNet50V2", "MobileNet", "MobileNetV2", "DenseNet121", "InceptionV3", "Xception"],
)
def test_in_the_limit_of_many_steps_it_is_the_ann(name):
    ann, images = ann_of(name)
    expected = ann.predict(images, verbose=0)
    assert np.isfinite(expected).all() and expected.std(0).max() > 1e-6
    snn = ksbp.convert_to_snn(ann, images, 2, percentile=100)
    error = np.abs(in_the_limit(snn, images) - expected).max() / np.abs(expected - expected.mean(0)).max()
    assert error < 0.01
