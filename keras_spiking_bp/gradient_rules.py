"""Which cells each `gradient` of `SpikingRNN` accepts."""

from __future__ import annotations

from keras_spiking_bp.batch_statistics import check_batch_statistics
from keras_spiking_bp.cells.affine import check_affine
from keras_spiking_bp.cells.base import Cell, check_no_activity_regularizer
from keras_spiking_bp.cells.recurrent import recurrent_cells
from keras_spiking_bp.validation import check_choice

#: The rules on sums over time.
ON_TOTALS = ("accumulated", "bounded")
#: Accepted values of `gradient` in `SpikingRNN`.
GRADIENTS = (*ON_TOTALS, "bptt")


def check_rule(gradient: str, cell: Cell) -> None:
    """Rejects cells without a derivative under this rule: known before they are built.

    Raises:
        ValueError: if `gradient` is unknown; under `"bptt"` for an `activity_regularizer`; under the others for a
            `RecurrentCell` or a learned parameter of neurons.
    """
    if check_choice("gradient", gradient, GRADIENTS) == "bptt":
        check_no_activity_regularizer(cell, "gradient='bptt'")
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
            others for any synapse that is not affine.
    """
    if gradient == "bptt":
        check_batch_statistics(cell, step_shape)
    else:
        check_affine(cell.affine_parts(), gradient)
