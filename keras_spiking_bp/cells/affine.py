"""Which layers commute with a sum over time."""

from __future__ import annotations

import math
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.utils.layer_kinds import is_of_keras, parts_of
from keras_spiking_bp.utils.randomness import seeds_of
from keras_spiking_bp.utils.training_flag import training_flag_restored
from keras_spiking_bp.utils.validation import check_no_added_loss, named

#: Without batch normalisation, which is an affine map in the time loop.
_NORMALISATIONS = (
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
    keras.layers.SpectralNormalization,
    keras.layers.UnitNormalization,
)
_MULTIPLES = (-1, 2**-7, 2**-14)  # of inputs of about 1000; powers of two, exact in every precision
_TOLERANCE = 0.02  # relative to the change of an output; activations deviate by tens of per cent
_ROUNDING = 2**-6  # relative to the output itself; bfloat16 has 8 bits


def why_not_affine(layer: keras.layers.Layer, input_shape: tuple[int, ...]) -> str | None:
    """Why a built layer is not a fixed affine map of one sample, `f(a) + f(b) = f(a + b) + f(0)`; None if it is one.

    Activations and normalisations are recognised by name. Other layers are tested on random inputs of several sizes,
    with random weights: their own may hide an activation (behind a kernel of zeros), and have no value yet if the layer
    is built in a `tf.function`. They, and the seeds of the layer, are unchanged.

    Raises:
        ValueError: if the layer calls `add_loss`.
    """
    parts = layer._flatten_layers()
    for part in parts:
        activation = getattr(part, "activation", None)
        if activation not in (None, "linear", keras.activations.linear):
            return f"{named(part)} has activation={getattr(activation, '__name__', activation)!r}"
        if isinstance(part, _NORMALISATIONS):
            return f"{named(part)} is a normalisation of each sample, or of its weights at each step"
    inputs = _inputs(input_shape)
    largest_and_smallest = [0, -2]
    with (
        tf.init_scope(),
        training_flag_restored(),
        keras.StatelessScope(_weights(layer), collect_losses=True) as scope,
    ):
        try:
            outputs = _outputs(layer, inputs, training=False)
            in_training = outputs[largest_and_smallest]
            if any(map(_may_differ, parts)):
                in_training = _outputs(layer, inputs[largest_and_smallest], training=True)
        except Exception as error:  # a custom layer may raise anything
            largest = np.abs(inputs).max()
            return f"on random inputs of -{largest:.0f} to {largest:.0f} it raises {type(error).__name__}: {error}"
        check_no_added_loss(layer)
        drawn = [part for part in parts if any(scope.get_current_value(seed) is not None for seed in seeds_of(part))]
    if drawn:
        return (
            f"{named(drawn[0])} draws random numbers anew at each step. For dropout, LIFCell(dropout=...) holds one "
            "mask over all steps"
        )
    if not all(map(_close, in_training, outputs[largest_and_smallest])):
        norm = next((part for part in parts if isinstance(part, keras.layers.BatchNormalization)), None)
        if norm is not None and norm is not layer:
            return (
                f"it holds the batch normalisation {norm.name!r} at an unknown place. Put its layers into a "
                "keras.Sequential (or, if all are those of Keras, a functional keras.Model)"
            )
        return "it does something else in training than in inference"
    fa, fb, *others, f0 = outputs
    expected = [fa + fb - f0, *(f0 + multiple * (fa - f0) for multiple in _MULTIPLES)]
    if not all(_close(f, of, f0) for f, of in zip(others, expected, strict=True)):
        return "it has an activation, a maximum or a normalisation inside"
    return None


def check_affine(parts: Iterable[tuple[keras.layers.Layer, tuple[int, ...]]], gradient: str) -> None:
    """Rejects layers, given with their input shapes, to which a rule on sums over time cannot apply."""
    for layer, input_shape in parts:
        reason = why_not_affine(layer, input_shape)
        if reason is not None:
            raise ValueError(
                f"`gradient={gradient!r}` needs synapses that are affine, and the same at each step: it applies them "
                f"to sums over time. The layer {named(layer)} is not: {reason}. Use gradient='bptt', or another layer"
            )


def _inputs(shape: tuple[int, ...]) -> np.ndarray:
    """a, b, a + b, the multiples of a, and zeros: few bits, so that they are exact in any precision."""
    a, b = 128 * np.random.default_rng(0).integers(-8, 9, (2, *shape)).astype("float32")
    return np.stack([a, b, a + b, *(m * a for m in _MULTIPLES), 0 * a])


def _weights(layer: keras.layers.Layer) -> list[tuple[keras.Variable, np.ndarray]]:
    """Random values for all weights, scaled so that outputs are as large as inputs; not for quantised layers, whose
    weights may be indices.
    """
    rng = np.random.default_rng(1)
    quantised = [part for part in layer._flatten_layers() if getattr(part, "quantization_mode", None) is not None]
    kept = {id(weight) for part in quantised for weight in part.weights}
    values = []
    for weight in layer.weights:
        if id(weight) not in kept and keras.backend.is_float_dtype(weight.dtype):
            fan_in = (1, *weight.shape)[:-1]
            # vectors are above 0, as they may be variances; repeating a block of prime length is fast
            block = rng.uniform(0.1, 2.0, 10007) if len(weight.shape) < 2 else rng.normal(size=10007)
            block = (block / math.sqrt(math.prod(fan_in))).astype("float32")
            values.append((weight, np.resize(block, weight.shape)))
    return values


def _may_differ(layer: keras.layers.Layer) -> bool:
    """Whether a layer may differ in training: code of the user, and Keras' own that draw (normalisations aside)."""
    return bool(seeds_of(layer)) or not is_of_keras(layer) or isinstance(layer, keras.layers.Lambda)


def _outputs(layer: keras.layers.Layer, inputs: np.ndarray, training: bool) -> np.ndarray:
    outputs = tf.cast(inputs, layer.compute_dtype)
    for part in parts_of(layer):  # batch normalisation always as in the time loop
        # float8 rounds to 4 bits, and clips inputs as large as these: without that, the same map
        call = part.call if getattr(part, "quantization_mode", None) == "float8" else part
        outputs = call(outputs, training=training and not isinstance(part, keras.layers.BatchNormalization))
    return np.asarray(tf.cast(outputs, tf.float32))


def _close(f: np.ndarray, expected: np.ndarray, f0: np.ndarray | float = 0) -> bool:
    """Whether the change of an output from `f0` is as expected up to rounding; NaN is not."""
    tolerance = _TOLERANCE * np.abs(expected - f0).max() + _ROUNDING * np.abs(expected).max()
    return bool(np.abs(f - expected).max() <= tolerance)
