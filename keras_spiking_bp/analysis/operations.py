"""What an inference computes: synaptic operations and their energy, of the spiking network and of the same ANN."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import keras

from keras_spiking_bp.analysis import pictures
from keras_spiking_bp.analysis.activity import activity
from keras_spiking_bp.analysis.ann_operations import OperationCount, ann_operations
from keras_spiking_bp.analysis.run import Run, as_run
from keras_spiking_bp.analysis.table import Table


class Operations(Table):
    """Operations of each connection, per sample; the last row is the whole network.

    Not in the rows: `neuron_updates`, potentials (the readout's too, and synaptic currents) times time steps.
    """

    def __init__(self, rows: list[dict[str, Any]], neuron_updates: float):
        super().__init__(rows)
        self.neuron_updates = neuron_updates

    plot = pictures.operations


def operations(model: keras.Model | Run, data: Any = None, batch_size: int = 50, verbose: int = 1) -> Operations:
    """Synaptic operations per sample, counted exactly, beside those of the same network as an ANN.

    A spike costs one accumulate (AC: an addition of a weight) for each synapse that it reaches; at borders and with
    strides it reaches fewer (`analysis.synapse_counts.fan_out`). An input that is not spikes (a constant current) costs
    a multiply-accumulate (MAC) for each nonzero value, synapse and time step. The ANN needs one MAC for each synapse.
    Pooling windows and identity shortcuts have no weights: they accumulate; the ANN adds each shortcut by its elements.
    Where no neurons follow average pooling, each spike goes through its window to the synapses of the next layer; the
    ANN computes the averages first. Biases, and batch normalisation, which can be folded, are not counted.

    The ANN beside a network with an `Encoder` sees the sample once, without feedback; beside one without, whose input
    is a series, it computes each layer, feedback too, at each time step that no mask skips.

    Args:
        model: a built model with one `SpikingRNN`, or the result of `analysis.run`.
        data, batch_size, verbose: as in `analysis.run`.

    Returns:
        A table with a row for each connection and `"total"`: `connection`, `synapses`, `accumulates` and `macs` of the
        spiking network, `ann_accumulates` and `ann_macs`; all per sample. What follows an `Add` is in the row of each
        summand: its synapses count once for each.

    Example:
        >>> model = models.spiking_vgg((8, 8, 1), 3, [(4, 3), "pool"], [16], num_steps=10, seed=0)
        >>> images = np.random.default_rng(0).uniform(0, 1, (6, 8, 8, 1)).astype("float32")
        >>> table = analysis.operations(model, images, verbose=0)
        >>> [(row["connection"], row["synapses"]) for row in table.rows][:2]
        [('input -> conv1', 1936), ('conv1 -> fc1', 4096)]
    """
    done = as_run(model, data, None, batch_size, verbose, labelled=False, counted=True)
    rows: list[dict[str, Any]] = []
    times = 1 if done.encoded else done.mean_steps  # that the ANN computes
    in_ann = [path for path in done.connections if not (done.encoded and path.delayed)]
    ann_counts = dict(zip([path.name for path in in_ann], ann_operations(in_ann), strict=True))
    for path, synapses in zip(done.connections, done.synapses, strict=True):
        ann = ann_counts.get(path.name, OperationCount())
        counted = float(done.operations[path.name].sum(1).mean())
        multiplies = done.multiplies(path)
        spiking = {"accumulates": 0.0 if multiplies else counted, "macs": counted if multiplies else 0.0}
        of_ann = {"ann_accumulates": ann.accumulates * times, "ann_macs": ann.macs * times}
        rows.append({"connection": path.name, "synapses": synapses, **spiking, **of_ann})
    total = {name: sum(row[name] for row in rows) for name in list(rows[0])[1:]}
    return Operations([*rows, {"connection": "total", **total}], done.updates * done.mean_steps)


@dataclasses.dataclass(frozen=True)
class Costs:
    """Energy per operation, in picojoules.

    The defaults are those of the paper's analysis: 45 nm CMOS, 0.9 V, 32-bit floating point (Horowitz, ISSCC 2014): an
    addition 0.9 pJ, a multiplication 3.7 pJ. It counts arithmetic in the synapses only. Memory often costs more: a
    32-bit access to an 8 KiB cache about 5 pJ, to a 1 MiB cache about 50 pJ (half of Horowitz' figures for 64 bits), so
    set `memory_access` before claiming an advantage. A device may read a weight or an activation once for several
    products: this table does not.

    Attributes:
        accumulate: of an AC (one addition).
        mac: of a MAC (one multiplication, one addition).
        neuron_update: of one neuron in one time step (leak and comparison); the paper has none.
        memory_access: of reading or writing one 32-bit word. An AC of spikes takes three (weight; potential, read and
            written), and so does a MAC of a spiking network, which goes from input to input. An ANN goes from output to
            output, so that a sum stays in a register: its MAC takes two (weight; activation), its AC one (activation).
            A neuron update takes two (potential, read and written).
        FLOAT32_45NM: the defaults, the paper's.
        INT32_45NM: of 32-bit integers, 45 nm CMOS: an addition 0.1 pJ, a multiplication 3.1 pJ.

    Example:
        >>> analysis.Costs(memory_access=5.0).of(accumulates=1, macs=0)
        15.9
    """

    accumulate: float = 0.9
    mac: float = 4.6
    neuron_update: float = 0.0
    memory_access: float = 0.0
    FLOAT32_45NM: ClassVar[Costs]
    INT32_45NM: ClassVar[Costs]

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


Costs.FLOAT32_45NM = Costs()
Costs.INT32_45NM = Costs(accumulate=0.1, mac=3.2)


class Energy(Table):
    """Energy of each connection, per sample, in nanojoules; the last row is the whole network."""

    plot = pictures.energy


def energy(
    model: keras.Model | Run | Operations,
    data: Any = None,
    costs: Costs = Costs.FLOAT32_45NM,
    batch_size: int = 50,
    verbose: int = 1,
) -> Energy:
    """The energy of an inference: spiking network, and the same network as an ANN, as in `analysis.operations`.

    `energy = accumulates * costs.accumulate + macs * costs.mac`, plus memory and neuron updates where `costs` has them.
    An estimate, not a measurement, of arithmetic in a device that computes only where there is a spike. (LiteRT, ONNX
    Runtime and TensorFlow compute all products at each step, T times those of the ANN.)

    Args:
        model: a built model with one `SpikingRNN`, or an `analysis.run` or `analysis.operations` result.
        costs: energy per operation.
        data, batch_size, verbose: as in `analysis.run`.

    Returns:
        A table with a row for each connection, `"neurons"` (if updates cost anything) and `"total"`: `connection`,
        `energy_nj`, `ann_energy_nj`, `ratio` (ANN / spiking: above 1, the spiking network needs less).

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
        rows.append(_energy_row(row["connection"], spiking, ann))
    updates = costs.of_updates(counted.neuron_updates)
    if updates:
        rows.append(_energy_row("neurons", updates, 0.0))
    totals = [1000 * sum(row[name] for row in rows) for name in ("energy_nj", "ann_energy_nj")]
    return Energy([*rows, _energy_row("total", *totals)])


def _energy_row(connection: str, picojoules: float, of_ann: float) -> dict[str, Any]:
    return {
        "connection": connection,
        "energy_nj": picojoules / 1000,
        "ann_energy_nj": of_ann / 1000,
        "ratio": of_ann / picojoules if picojoules else None,
    }


def break_even(
    model: keras.Model | Run,
    data: Any = None,
    costs: Costs = Costs.FLOAT32_45NM,
    batch_size: int = 50,
    verbose: int = 1,
) -> Table:
    """How rarely a network must fire to need less energy than the same network as an ANN, and whether it does.

    With the operations A (`accumulates`), M (`macs`) and U (neuron updates) of `analysis.operations`, each per sample:

        energy        = costs.of(A, M) + costs.of_updates(U)
        break-even A* = (costs.of_ann(ANN) - costs.of(0, M) - costs.of_updates(U)) / costs.of(1, 0)

    A follows the spikes; M and U follow the time steps, however rarely a neuron fires. The rate at break-even is the
    measured one times A* / A: all layers, and an input of spikes, firing that much more or less. It holds for a device
    that computes only where there is a spike; one that computes all products at each step saves nothing at any rate.

    Args:
        model: a built model with one `SpikingRNN`, or the result of `analysis.run`.
        costs: picojoules per operation, and per 32-bit word of memory, of your device.
        data, batch_size, verbose: as in `analysis.run`.

    Returns:
        A table of one row: `energy_nj` and `ann_energy_nj`, per sample; `accumulates`, A, and `break_even_accumulates`,
        A*; `firing_rate`, spikes per neuron and step, and `break_even_rate`; `saves`, whether A < A*. Where M and U
        alone cost more than the ANN, A* and the rate at break-even are 0.

    Raises:
        TypeError, ValueError: as `analysis.operations`.
        ZeroDivisionError: if a spike costs nothing, or none reached a synapse.

    Example:
        >>> model = models.spiking_vgg((8, 8, 1), 3, [(4, 3), "pool"], [16], preset="paper", num_steps=10, seed=0)
        >>> images = np.random.default_rng(0).uniform(0, 1, (6, 8, 8, 1)).astype("float32")
        >>> done = analysis.run(model, images, verbose=0)
        >>> [analysis.break_even(done, costs=costs).rows[0]["saves"]
        ...  for costs in (analysis.Costs(), analysis.Costs(memory_access=50.0))]
        [True, False]
    """
    done = as_run(model, data, None, batch_size, verbose, labelled=False, counted=True)
    counted = operations(done)
    total, per_event = counted.rows[-1], costs.of(1, 0)
    of_ann = costs.of_ann(total["ann_accumulates"], total["ann_macs"])
    fixed = costs.of(0, total["macs"]) + costs.of_updates(counted.neuron_updates)
    most = max(of_ann - fixed, 0.0) / per_event
    rate = activity(done).rows[-1]["firing_rate"]
    return Table(
        [
            {
                "energy_nj": (per_event * total["accumulates"] + fixed) / 1000,
                "ann_energy_nj": of_ann / 1000,
                "accumulates": total["accumulates"],
                "break_even_accumulates": most,
                "firing_rate": rate,
                "break_even_rate": rate * most / total["accumulates"],
                "saves": total["accumulates"] < most,
            }
        ]
    )
