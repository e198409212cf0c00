"""Whether the statistics of batch normalisation follow from mean currents."""

from __future__ import annotations

import functools
from collections.abc import Callable

import keras

from keras_spiking_bp.cells import Cell
from keras_spiking_bp.cells.affine import why_not_affine
from keras_spiking_bp.cells.moving_statistics import learning_normalizations
from keras_spiking_bp.connections import SAME, paths_of
from keras_spiking_bp.layer_graph import parts_of
from keras_spiking_bp.validation import named


def check_batch_statistics(cell: Cell, input_shape: tuple[int, ...]) -> None:
    """Rejects a batch normalisation that learns behind a layer that is not affine, with no neurons between.

    Its statistics are those of its mean input over the window, computed from mean spikes (`Cell.accumulate`): the mean
    of a maximum, or of an activation, is not the maximum of the means.

    Args:
        cell: a built cell. The paths in cells of an unknown kind are not known, and are not checked.
        input_shape: shape of one time step of its input, without the batch.

    Raises:
        ValueError: the error names both layers.
    """
    learning = {id(layer) for layer in learning_normalizations(cell)}
    if not learning:
        return
    try:
        found, ends = paths_of(cell, input_shape)
    except TypeError:  # a kind of cell of the user's
        return
    shapes = {id(layer): shape for layer, shape in cell.affine_parts()}

    @functools.cache
    def reason(part: keras.layers.Layer, shape: tuple[int, ...]) -> str | None:
        return None if isinstance(part, keras.layers.BatchNormalization) else why_not_affine(part, shape)

    for path in (*found, *ends):
        parts = [part for layer in path.layers if id(layer) in shapes for part in _parts(layer, shapes[id(layer)])]
        holding = [i for i, (part, _) in enumerate(parts) if learning & {id(inner) for inner in part._flatten_layers()}]
        for part, shape in parts[: holding[-1] + 1] if holding else ():
            if id(part) in learning or type(part) in SAME:  # dropout and noise, whose mean is their input
                continue
            why = reason(part, tuple(shape()))
            if why is not None:
                norm = next(inner for inner in parts[holding[-1]][0]._flatten_layers() if id(inner) in learning)
                place = "be inside of" if norm in part._flatten_layers() else "stand behind"
                raise ValueError(
                    f"The batch normalisation {norm.name!r} must not {place} {named(part)} without neurons between "
                    f"them: {why}, and the statistics are computed from mean spikes. Put it before that layer, in a "
                    "keras.Sequential, or set its trainable=False"
                )


def _parts(
    layer: keras.layers.Layer, shape: tuple[int, ...]
) -> list[tuple[keras.layers.Layer, Callable[[], tuple[int, ...]]]]:
    """The parts of a layer, each with a function for its input shape, which some custom layers cannot tell."""
    parts = parts_of(layer)

    def input_shape(number: int) -> tuple[int, ...]:
        outputs = keras.KerasTensor((None, *shape), parts[0].compute_dtype)
        for part in parts[:number]:
            outputs = part.compute_output_spec(outputs)
        return tuple(outputs.shape[1:])

    return [(part, functools.partial(input_shape, i)) for i, part in enumerate(parts)]
