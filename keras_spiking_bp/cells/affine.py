"""Which layers commute with a sum over time."""

from __future__ import annotations

from collections.abc import Iterable

import keras

from keras_spiking_bp.utils.layer_kinds import (
    AVERAGE_POOLING,
    GLOBAL_AVERAGE_POOLING,
    SAME,
    computes_otherwise,
    is_of_keras,
)
from keras_spiking_bp.utils.randomness import seeds_of
from keras_spiking_bp.utils.validation import named

#: Affine maps of one sample, but for an activation. Batch normalisation is one in the time loop.
_AFFINE = (
    keras.layers.Dense, keras.layers.EinsumDense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D,
    keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose,
    keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D, keras.layers.Flatten, keras.layers.Reshape, keras.layers.Permute,
    keras.layers.RepeatVector, keras.layers.ZeroPadding1D, keras.layers.ZeroPadding2D, keras.layers.ZeroPadding3D,
    keras.layers.Cropping1D, keras.layers.Cropping2D, keras.layers.Cropping3D, keras.layers.UpSampling1D,
    keras.layers.UpSampling2D, keras.layers.UpSampling3D, keras.layers.Rescaling, keras.layers.Normalization,
    keras.layers.BatchNormalization,
    keras.layers.Activation, keras.layers.Add, keras.layers.Subtract, keras.layers.Average, keras.layers.Concatenate,
    keras.layers.InputLayer, *SAME, *AVERAGE_POOLING, *GLOBAL_AVERAGE_POOLING,
)  # fmt: skip


def why_not_affine(layer: keras.layers.Layer) -> str | None:
    """Why a layer is not known to be a fixed affine map of one sample, `f(a) + f(b) = f(a + b) + f(0)`; None if it is.

    Layers of Keras are known by their class. A custom one is taken for affine if it has an attribute `is_affine`.
    """
    activation = getattr(layer, "activation", None)
    if activation not in (None, "linear", keras.activations.linear):
        return f"{named(layer)} has activation={getattr(activation, '__name__', activation)!r}"
    strength = getattr(layer, "rate", None) or getattr(layer, "stddev", None)
    if seeds_of(layer) and (strength or not isinstance(layer, SAME)):
        return (
            f"{named(layer)} draws random numbers anew at each step. For dropout, LIFCell(dropout=...) holds one mask "
            "over all steps"
        )
    if getattr(layer, "is_affine", False):
        norms = [part for part in layer._flatten_layers() if isinstance(part, keras.layers.BatchNormalization)]
        inner = [reason for part in layer._layers if (reason := why_not_affine(part)) is not None]
        if norms:
            return (
                f"it holds the batch normalisation {norms[0].name!r} at an unknown place. Put its layers into a "
                "keras.Sequential (or, if all are those of Keras, a functional keras.Model)"
            )
        return inner[0] if inner else None
    if isinstance(layer, keras.Model) and is_of_keras(layer):
        others = [part for part in getattr(layer, "operations", ()) if not isinstance(part, keras.layers.Layer)]
        if others:
            return f"{named(layer)} has the operation {others[0].name!r} between its layers"
        return next((reason for part in layer.layers if (reason := why_not_affine(part)) is not None), None)
    if isinstance(layer, _AFFINE) and computes_otherwise(layer, _AFFINE) is None:
        return None
    return (
        f"{named(layer)} is not known to be. If a layer of your own is, give its class the attribute is_affine = True"
    )


def check_affine(layers: Iterable[keras.layers.Layer], gradient: str) -> None:
    """Rejects layers to which a rule on sums over time cannot apply."""
    for layer in layers:
        reason = why_not_affine(layer)
        if reason is not None:
            raise ValueError(
                f"`gradient={gradient!r}` needs synapses that are affine, and the same at each step: it applies them "
                f"to sums over time. The layer {named(layer)} is not: {reason}. Use gradient='bptt', or another layer"
            )
