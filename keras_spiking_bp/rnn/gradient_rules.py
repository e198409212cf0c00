"""Which cells each `gradient` of `SpikingRNN` accepts."""

from __future__ import annotations

from keras_spiking_bp.cells.affine import check_affine, why_not_affine
from keras_spiking_bp.cells.base import Cell, check_no_activity_regularizer
from keras_spiking_bp.cells.moving_statistics import learning_normalizations
from keras_spiking_bp.cells.recurrent import recurrent_cells
from keras_spiking_bp.gradients.surrogates import Bounded
from keras_spiking_bp.rnn.connections import paths_of
from keras_spiking_bp.utils.layer_kinds import SAME, parts_of
from keras_spiking_bp.utils.validation import check_choice, named

#: The ways back through time: once, on sums over time, or step by step.
GRADIENTS = ("accumulated", "bptt")


def check_rule(gradient: str, cell: Cell) -> None:
    """Rejects cells without a derivative under this rule: known before they are built.

    Raises:
        ValueError: if `gradient` is unknown; under `"bptt"` for an `activity_regularizer` or
            `surrogate="bounded"`; under `"accumulated"` for a `RecurrentCell` or a learned parameter of neurons.
    """
    if check_choice("gradient", gradient, GRADIENTS) == "bptt":
        check_no_activity_regularizer(cell, "gradient='bptt'")
        for neuron in cell.neurons():
            if isinstance(getattr(neuron, "surrogate", None), Bounded):
                raise ValueError(
                    f"`gradient` must be 'accumulated' for surrogate='bounded', of {neuron.name!r}: it is the "
                    "derivative of a count, not of a spike. Received: gradient='bptt'"
                )
        return
    if recurrent_cells(cell):
        raise ValueError(
            f"`gradient` must be 'bptt' for the RecurrentCell {recurrent_cells(cell)[0].name!r}: sums over time do "
            f"not tell in which order its spikes come back. Received: gradient={gradient!r}"
        )
    for neuron in cell.neurons():
        if neuron.learned:
            raise ValueError(
                f"`gradient` must be 'bptt' to learn the {' and '.join(neuron.learned)} of {neuron.name!r}: sums over "
                f"time have no derivative with respect to them. Received: gradient={gradient!r}. To keep values "
                "that have been learned, give them to a new cell as numbers or arrays"
            )


def check_built_rule(gradient: str, cell: Cell, step_shape: tuple[int, ...]) -> None:
    """Rejects built cells whose layers do not work under this rule.

    Raises:
        ValueError: under `"bptt"` for a batch normalisation that learns behind a layer that is not affine; under the
            other for any synapse that is not affine.
    """
    if gradient == "bptt":
        _check_batch_statistics(cell, step_shape)
    else:
        check_affine(cell.affine_parts(), gradient)


def _check_batch_statistics(cell: Cell, input_shape: tuple[int, ...]) -> None:
    """Rejects a batch normalisation that learns behind a layer that is not affine, with no neurons between.

    Its statistics are those of its mean input over the window, computed from mean spikes (`Cell.accumulate`): the mean
    of a maximum, or of an activation, is not the maximum of the means. Paths in cells of an unknown kind are not known,
    and are not checked.
    """
    learning = {id(layer) for layer in learning_normalizations(cell)}
    try:
        paths = [path for group in paths_of(cell, input_shape) for path in group] if learning else []
    except TypeError:  # a kind of cell of the user's
        return
    on_sums = {id(layer) for layer in cell.affine_parts()}
    for path in paths:
        parts = [part for layer in path.layers if id(layer) in on_sums for part in parts_of(layer)]
        last = max(
            (i for i, part in enumerate(parts) if learning & {id(p) for p in part._flatten_layers()}), default=-1
        )
        for part in parts[: last + 1]:
            if id(part) in learning or type(part) in SAME:  # dropout and noise, whose mean is their input
                continue
            why = why_not_affine(part)
            if why is not None:
                norm = next(inner for inner in parts[last]._flatten_layers() if id(inner) in learning)
                place = "be inside of" if norm in part._flatten_layers() else "stand behind"
                raise ValueError(
                    f"The batch normalisation {norm.name!r} must not {place} {named(part)} without neurons between "
                    f"them: {why}, and the statistics are computed from mean spikes. Put it before that layer, in a "
                    "keras.Sequential, or set its trainable=False"
                )
