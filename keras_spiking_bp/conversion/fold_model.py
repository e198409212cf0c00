"""`fold_batch_normalization`: the same spiking network without batch normalisation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from keras_spiking_bp.cells import Cell
from keras_spiking_bp.cells.folding import why_not_folded
from keras_spiking_bp.cells.normalization import normalizations
from keras_spiking_bp.cells.tree import tree
from keras_spiking_bp.conversion.fold import assign_folded
from keras_spiking_bp.rnn.layer import SpikingRNN
from keras_spiking_bp.rnn.spiking_model import check_graph, spiking_layers
from keras_spiking_bp.utils.layer_copies import copy_of, copy_own_variables, free_weights, use_assigned
from keras_spiking_bp.utils.layer_kinds import computes_otherwise, has_stock_call, parts_of
from keras_spiking_bp.utils.validation import check_finite_weights

_WEIGHTED = (
    keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D, keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
)  # fmt: skip


def fold_batch_normalization(model: keras.Model) -> keras.Model:
    """Folds the batch normalisation of a spiking network into kernels and biases.

        kernel <- factor * kernel,    bias <- factor * (bias - mean) + beta

    with `factor = gamma / sqrt(variance + epsilon)` and the moving statistics. The currents are the same up to float32
    rounding. Neuromorphic chips, and the simulators of other libraries, have no batch normalisation layer.

    Each `keras.layers.BatchNormalization` in the synapses and shortcuts of the `SpikingRNN` must directly follow a
    `Dense`, `Conv` or `DepthwiseConv` layer, in one `keras.Sequential` with it. Layers outside of the `SpikingRNN` are
    copied unchanged.

    Args:
        model: a built functional or sequential model with one or more `SpikingRNN`. It is not modified.

    Returns:
        A new model with the same names, shapes and dtype policies, and its own weights. It is not compiled.

    Raises:
        TypeError: if the model has no `SpikingRNN` or is neither functional nor sequential.
        ValueError: if it is not built, weights are not finite, or a batch normalisation cannot be folded; the error
            names it.

    Example:
        >>> model = models.spiking_vgg((8, 8, 1), 3, [(4, 3), "pool"], [16], num_steps=10, normalization="batch")
        >>> folded = fold_batch_normalization(model)
        >>> synapses = [network.get_layer("time").cell.cells[0].synapse for network in (model, folded)]
        >>> [[variable.name for variable in synapse.weights] for synapse in synapses]
        [['kernel', 'gamma', 'beta', 'moving_mean', 'moving_variance'], ['kernel', 'bias']]
    """
    networks = spiking_layers(model)
    check_graph(model)
    check_finite_weights(model)
    plain = {id(layer): without_normalization(layer) for network in networks for layer in _synapses(network.cell)}
    pairs: list[tuple[keras.layers.Layer, keras.layers.Layer]] = []

    made: dict[int, keras.layers.Layer] = {}

    def clone(layer: keras.Operation) -> keras.Operation:
        if not isinstance(layer, keras.layers.Layer):  # `keras.ops` and arithmetic: without weights
            return layer
        if id(layer) not in made:
            made[id(layer)] = copied(layer)
        return made[id(layer)]

    def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, keras.Model) and getattr(layer, "outputs", None):
            spiking = any(isinstance(part, SpikingRNN) for part in layer._flatten_layers())
            if spiking or has_stock_call(layer):  # by itself Keras follows no models inside
                new = keras.models.clone_model(layer, clone_function=clone)
                _check_keeps_call(layer, new)
                return new
        if isinstance(layer, SpikingRNN):  # cells that share a layer get one each
            config = {**layer.config_of_uses(), "cell": _serialised(layer.cell, plain)}
        else:
            config = layer.get_config()
        pairs.append((layer, type(layer).from_config(config)))
        return pairs[-1][1]

    with _uncompiled(model):
        folded = clone(model)
    for old, new in pairs:
        if isinstance(old, SpikingRNN):
            copy_own_variables(old, new)
            for old_cell, new_cell in zip(_cells(old.cell), _cells(new.cell), strict=True):
                copy_own_variables(old_cell, new_cell)
            for of, to in zip(_synapses(old.cell), _synapses(new.cell), strict=True):
                _copy_all(plain[id(of)], to)
        else:
            _copy_all(old, new)
    return folded


def _check_keeps_call(model: keras.Model, new: keras.Model) -> None:
    """Rejects a model with a `call` of its own that its copy, of a class of Keras, does not have."""
    if type(new).call is not type(model).call and not has_stock_call(model):
        raise ValueError(
            f"The model {model.name!r} ({type(model).__name__}) has a SpikingRNN in it and a `call` of its own: a copy "
            "of its layers may compute something else. Fold the part with the SpikingRNN alone"
        )


@contextlib.contextmanager
def _uncompiled(model: keras.Model) -> Iterator[None]:
    """Within it Keras takes a model, and those in it, for not compiled: else it compiles a clone as its model is, which
    fails if the loss is a function that cannot be serialised.
    """
    compiled = [part for part in model._flatten_layers() if isinstance(part, keras.Model) and part.compiled]
    for part in compiled:
        part.compiled = False
    try:
        yield
    finally:
        for part in compiled:
            part.compiled = True


def without_normalization(synapse: keras.layers.Layer) -> keras.layers.Layer:
    """A new built layer that computes what `synapse` does in inference; itself if there is nothing to fold.

    Raises:
        ValueError: if a batch normalisation does not directly follow a layer with weights.
    """
    norms = normalizations(synapse)
    if not norms:
        return synapse
    parts = parts_of(synapse)
    folded: list[tuple[keras.layers.Layer, keras.layers.BatchNormalization | None]] = []
    for before, part in zip([None, *parts], parts, strict=False):
        if isinstance(part, keras.layers.BatchNormalization):
            _check_foldable(before, part)
            folded[-1] = (before, part)
            norms.remove(part)
        else:
            folded.append((part, None))
    if norms:
        raise ValueError(
            f"The batch normalisation {norms[0].name!r} cannot be folded: it is inside of {synapse.name!r} "
            f"({type(synapse).__name__}), whose parts are not known. Use a keras.Sequential"
        )
    layers = [
        copy_of(old, dtype=old.dtype_policy, **({} if norm is None else {"use_bias": True, **free_weights(old)}))
        for old, norm in folded
    ]
    whole = layers[0] if len(layers) == 1 else keras.Sequential(layers, name=synapse.name)
    whole.build(synapse.input_shape)
    for new, (old, norm) in zip(layers, folded, strict=True):
        if norm is None:
            _copy_all(old, new)
        else:
            assign_folded(new, old, norm)
    return whole


def _check_foldable(before: Any, norm: keras.layers.BatchNormalization) -> None:
    def refuse(why: str) -> None:
        raise ValueError(
            f"The batch normalisation {norm.name!r} cannot be folded: {why}. It must stand right behind a Dense, Conv "
            "or DepthwiseConv layer without activation, in one keras.Sequential with it, and normalise channels, the "
            "last axis"
        )

    if not isinstance(before, _WEIGHTED):
        refuse("there is no layer before it" if before is None else f"it stands behind {before.name!r}")
    for part, kinds in ((before, _WEIGHTED), (norm, (keras.layers.BatchNormalization,))):
        otherwise = computes_otherwise(part, kinds)
        if otherwise is not None:
            refuse(f"{part.name!r} is unknown: {otherwise}")
    why = why_not_folded(before, norm)
    if why is not None:
        refuse(why)


def _serialised(layer: keras.layers.Layer, plain: dict[int, keras.layers.Layer]) -> dict[str, Any]:
    """The config of a cell tree with the layers of `plain` in place of its synapses, looked up by id."""
    if not isinstance(layer, Cell):
        config = keras.saving.serialize_keras_object(plain[id(layer)])
        config["config"]["name"] = layer.name  # by which other layers of a graph refer to it
        return config
    config = keras.saving.serialize_keras_object(layer)
    config["config"] |= layer.config_of_parts(lambda part: _serialised(part, plain))
    return config


def _cells(cell: Cell) -> list[Cell]:
    return [layer for layer in tree(cell) if isinstance(layer, Cell)]


def _synapses(cell: Cell) -> list[keras.layers.Layer]:
    return [layer for layer in tree(cell) if not isinstance(layer, Cell)]


def _copy_all(source: keras.layers.Layer, target: keras.layers.Layer) -> None:
    for of, to in zip(source.variables, target.variables, strict=True):
        to.assign(of)
    use_assigned(target)
