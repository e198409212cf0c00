"""Whether the statistics of batch normalisation follow from mean currents."""

from __future__ import annotations

import functools

import keras

from keras_spiking_bp.cells import Cell
from keras_spiking_bp.cells.affine import why_not_affine
from keras_spiking_bp.cells.normalization import learning_normalizations
from keras_spiking_bp.connections import paths_of
from keras_spiking_bp.layer_graph import parts_of
from keras_spiking_bp.randomness import seeds_of
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
        parts = [pair for layer in path.layers if id(layer) in shapes for pair in _parts(layer, shapes[id(layer)])]
        norms = [i for i, (part, _) in enumerate(parts) if id(part) in learning]
        for part, shape in parts[: norms[-1]] if norms else ():
            if not any(map(seeds_of, part._flatten_layers())) and reason(part, shape) is not None:
                norm = parts[norms[-1]][0]
                raise ValueError(
                    f"The batch normalisation {norm.name!r} must not stand behind {named(part)} without neurons "
                    f"between them: {reason(part, shape)}, and the statistics are computed from mean spikes. Put it "
                    "before that layer, or set its trainable=False"
                )


def _parts(layer: keras.layers.Layer, shape: tuple[int, ...]) -> list[tuple[keras.layers.Layer, tuple[int, ...]]]:
    """The parts of a layer, each with its input shape."""
    found = []
    for part in parts_of(layer):
        found.append((part, shape))
        shape = tuple(part.compute_output_shape((None, *shape)))[1:]
    return found
