"""The energy of an inference, under a stated table of costs."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras

from keras_spiking_bp.analysis import pictures
from keras_spiking_bp.analysis.operations import Operations, operations
from keras_spiking_bp.analysis.run import Run
from keras_spiking_bp.analysis.table import Table
from keras_spiking_bp.utils.validation import is_number


@dataclasses.dataclass(frozen=True)
class Costs:
    """Energy per operation, in picojoules.

    The defaults are those of the paper's analysis: 45 nm CMOS, 0.9 V, 32-bit floating point (Horowitz, ISSCC 2014): an
    addition 0.9 pJ, a multiplication 3.7 pJ. It counts arithmetic in the synapses only. Memory often costs more than
    arithmetic: a 32-bit access to an 8 KiB cache about 5 pJ, to a 1 MiB cache about 50 pJ (half of Horowitz' figures
    for 64 bits), so set `memory_access` before claiming an advantage, and consider that a device may read a weight or
    an activation once for several products: this table does not.

    Attributes:
        accumulate: of an AC (one addition).
        mac: of a MAC (one multiplication, one addition).
        neuron_update: of one neuron in one time step (leak and comparison); the paper has none.
        memory_access: of reading or writing one 32-bit word. An AC of spikes takes three (weight; potential, read and
            written), and so does a MAC of a spiking network, which skips zeros and therefore goes from input to input.
            An ANN goes from output to output, so that a sum stays in a register: its MAC takes two (weight;
            activation), its AC, as in pooling, one (activation). A neuron update takes two (potential, read and
            written).

    Raises:
        ValueError: if one is negative or no number.

    Example:
        >>> analysis.Costs(memory_access=5.0).of(accumulates=1, macs=0)
        15.9
    """

    accumulate: float = 0.9
    mac: float = 4.6
    neuron_update: float = 0.0
    memory_access: float = 0.0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not (is_number(value) and value >= 0):
                raise ValueError(f"`{field.name}` must be a number of at least 0 (pJ). Received: {value!r}")

    def of(self, accumulates: float, macs: float) -> float:
        """Energy of these operations of a spiking network, in pJ."""
        memory = self.memory_access
        return accumulates * (self.accumulate + 3 * memory) + macs * (self.mac + 3 * memory)

    def of_ann(self, accumulates: float, macs: float) -> float:
        """Energy of these operations of an ANN, in pJ."""
        memory = self.memory_access
        return accumulates * (self.accumulate + memory) + macs * (self.mac + 2 * memory)

    def of_updates(self, number: float) -> float:
        """Energy of these neuron updates, in pJ."""
        return number * (self.neuron_update + 2 * self.memory_access)


#: 45 nm CMOS, 32-bit floating point, arithmetic only: the paper's.
FLOAT32_45NM = Costs()
#: The same with 32-bit integers: addition 0.1 pJ, multiplication 3.1 pJ.
INT32_45NM = Costs(accumulate=0.1, mac=3.2)


class Energy(Table):
    """Energy of each connection, per sample, in nanojoules; the last row is the whole network."""

    def plot(self, axis: Any = None) -> Any:
        """Draws the energy of each connection beside that of the ANN; returns the matplotlib axes."""
        return pictures.energy(self, axis)


def energy(
    model: keras.Model | Run | Operations,
    data: Any = None,
    costs: Costs = FLOAT32_45NM,
    batch_size: int = 50,
    verbose: int = 1,
) -> Energy:
    """The energy of an inference: spiking network, and the same network as an ANN, as in `analysis.operations`.

    `energy = accumulates * costs.accumulate + macs * costs.mac`, plus memory and neuron updates where `costs` has them.
    An estimate, not a measurement, of arithmetic in a device that computes only where there is a spike. (LiteRT, ONNX
    Runtime and TensorFlow compute all products at each step, T times those of the ANN.) With data movement, a spiking
    network needs less than an ANN of equally coarse activations only if it fires rarely (in about 6 % of neurons and
    steps or less, for T = 5, arXiv 2409.08290).

    Args:
        model: a built model with one `SpikingRNN`, or an `analysis.run` or `analysis.operations` result.
        data: inputs of the model, as in `analysis.run`.
        costs: energy per operation.
        batch_size, verbose: as in `analysis.run`.

    Returns:
        A table with a row for each connection, `"neurons"` (if updates cost anything) and `"total"`: `connection`,
        `energy_nj`, `ann_energy_nj`, `ratio` (ANN / spiking: above 1, the spiking network needs less).

    Raises:
        TypeError, ValueError: as `analysis.operations`.

    Example:
        >>> model = models.spiking_vgg((8, 8, 1), 3, [(4, 3), "pool"], [16], num_steps=10, seed=0)
        >>> images = np.random.default_rng(0).uniform(0, 1, (6, 8, 8, 1)).astype("float32")
        >>> analysis.energy(model, images, verbose=0).rows[-1]["connection"]
        'total'
    """
    counted = model if isinstance(model, Operations) else operations(model, data, batch_size, verbose)
    rows = []
    for row in counted.rows[:-1]:
        spiking, ann = costs.of(row["accumulates"], row["macs"]), costs.of_ann(row["ann_accumulates"], row["ann_macs"])
        rows.append(_row(row["connection"], spiking, ann))
    updates = costs.of_updates(counted.neuron_updates)
    if updates:
        rows.append(_row("neurons", updates, 0.0))
    totals = [1000 * sum(row[name] for row in rows) for name in ("energy_nj", "ann_energy_nj")]
    return Energy([*rows, _row("total", *totals)])


def _row(connection: str, picojoules: float, of_ann: float) -> dict[str, Any]:
    return {
        "connection": connection,
        "energy_nj": picojoules / 1000,
        "ann_energy_nj": of_ann / 1000,
        "ratio": of_ann / picojoules if picojoules else None,
    }
