"""`to_nir`: a network of ours as a NIR graph."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_spiking_bp.cells import Cell, IFCell, LIFCell, PoolingCell, ReadoutCell
from keras_spiking_bp.cells.composite import CELL_INPUT
from keras_spiking_bp.cells.neuron import NeuronCell
from keras_spiking_bp.cells.walk import flat
from keras_spiking_bp.conversion.fold import without_normalization
from keras_spiking_bp.encoders import DeltaEncoder
from keras_spiking_bp.encoders.base import Encoder
from keras_spiking_bp.interchange import equations
from keras_spiking_bp.interchange.axes import Signal, neurons_to_nir, swapped
from keras_spiking_bp.interchange.write_layers import check_allowed, write_layers
from keras_spiking_bp.rnn.layer import SpikingRNN
from keras_spiking_bp.rnn.spiking_model import check_stock_calls, spiking_layer
from keras_spiking_bp.utils.layers import unique_name
from keras_spiking_bp.utils.neuron_parameters import in_numpy
from keras_spiking_bp.utils.validation import check_finite_weights, check_positive

if TYPE_CHECKING:
    import nir


def to_nir(model: keras.Model | SpikingRNN, dt: float = 1e-4) -> nir.NIRGraph:
    """A spiking network as a NIR graph, the format that snnTorch, Norse, SpikingJelly, Sinabs, Lava and others read.

    Needs the package nir: `pip install 'keras-spiking-bp[nir]'`.

    A LIF neuron becomes `LIF(tau = dt / (1 - beta), r = tau / dt, v_threshold = threshold, v_reset = 0)`, one with a
    synaptic current `CubaLIF`, a readout `LI`, a neuron without leak `IF` or `I`, each layer of a synapse its own node;
    a `RecurrentCell` has feedback edges (docs/nir.md has the table). Simulators with the rule
    `v <- v + dt / tau * (r I - v)` give the same spikes at each step. Images are (C, H, W) in NIR. Batch normalisation
    is folded. Not in the graph: the encoder (the input is that of one step), the division of the output by the number
    of steps, the gradient rule, surrogates. `nir.write(path, graph)` saves it.

    Args:
        model: a built `keras.Model` with one `SpikingRNN`, or such a layer.
        dt: length of a time step in seconds. snnTorch reads with 1e-4.

    Returns:
        A `nir.NIRGraph` of float32 parameters, with one input and one output.

    Raises:
        ValueError: if the network has something that NIR cannot express, such as `reset_mechanism="subtract"` or a
            `MaxPoolingCell`, a batch normalisation that cannot be folded, or weights that are not finite.

    Example:
        >>> cell = SequentialCell([
        ...     LIFCell(keras.layers.Dense(8, use_bias=False), beta=0.75, name="hidden"),
        ...     ReadoutCell(keras.layers.Dense(3), name="readout"),
        ... ])
        >>> layer = SpikingRNN(cell)
        >>> layer.build((None, None, 4))
        >>> graph = to_nir(layer)
        >>> {name: type(node).__name__ for name, node in graph.nodes.items()}
        {'input': 'Input', 'hidden_synapse': 'Linear', 'hidden': 'LIF', 'readout_synapse': 'Affine', 'readout': 'LI',
         'output': 'Output'}
    """
    import nir

    rnn = spiking_layer(model)
    check_stock_calls(model, rnn)
    # `operations` of a functional model: its layers, and `keras.ops` and arithmetic between them
    for other in [] if model is rnn else getattr(model, "operations", model.layers):
        if other is not rnn and not isinstance(other, (keras.layers.InputLayer, Encoder, DeltaEncoder)):
            raise ValueError(
                "`model` must have nothing but an encoder around its SpikingRNN: give that alone. "
                f"Received: {other.name!r} ({type(other).__name__})"
            )
    check_allowed(rnn, go_backwards=False)
    check_finite_weights(rnn.cell)
    graph = _Writer(nir, check_positive("dt", dt))
    signal = Signal(tuple(rnn.cell.input_shape_of_step))
    graph.nodes["input"] = nir.Input(np.array(swapped(signal.shape, "first")))
    (last,), signal = graph.network(rnn.cell, ["input"], signal)
    signal.check_order("The output of the network")
    graph.nodes["output"] = nir.Output(np.array(swapped(signal.shape, "first")))
    graph.edges.append((last, "output"))
    return nir.NIRGraph(graph.nodes, graph.edges, metadata={"dt": float(dt)})


class _Writer:
    """The nodes and edges so far. `sources` are the nodes whose sum a cell or layer takes, or gives."""

    def __init__(self, nir: ModuleType, dt: float):
        self.nir, self.dt = nir, dt
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []

    def network(self, cell: Cell, sources: list[str], signal: Signal) -> tuple[list[str], Signal]:
        ends: list[tuple[list[str], Signal]] = []
        output = (sources, signal)
        for node in flat(cell):
            inputs = [(sources, signal) if i == CELL_INPUT else ends[i] for i in node.inputs]
            terms = [name for names, _ in inputs for name in names]
            if len(inputs) > 1 or node.delayed_to is not None:
                for _, term in inputs:
                    term.check_order(f"The sum {node.name!r}")
            if node.delayed_to is not None:
                (back, *_), _ = self.layers(node.layer, *inputs[0], node.name)
                self.edges.append((back, ends[node.delayed_to][0][0]))
            elif isinstance(node.layer, NeuronCell):
                output = self.neurons(node.layer, terms, inputs[0][1])
            elif isinstance(node.layer, keras.layers.Add):
                if twice := sorted({term for term in terms if terms.count(term) > 1}):
                    raise ValueError(
                        f"The sum {node.name!r} takes an output twice, {twice}: NIR has one edge between two nodes"
                    )
                output = terms, inputs[0][1]
            else:
                output = self.layers(node.layer, *inputs[0], node.name)
            ends.append(output)
        return output

    def layers(
        self, layer: keras.layers.Layer, sources: list[str], signal: Signal, name: str
    ) -> tuple[list[str], Signal]:
        for node, sent in write_layers(self.nir, without_normalization(layer), signal):
            sources, signal = self.add(name, node, sources), sent
        return sources, signal

    def neurons(self, cell: NeuronCell, sources: list[str], current: Signal) -> tuple[list[str], Signal]:
        node = self._neurons(cell, current)
        node.metadata = {"cell": type(cell).__name__, "dropout": cell.dropout}
        return self.add(cell.name, node, sources), current

    def _neurons(self, cell: NeuronCell, current: Signal) -> Any:
        """The node of the neurons of a cell, which get `current`."""
        ones = np.ones(swapped(current.shape, "first"), "float32")

        def of_each(name: str) -> np.ndarray:
            return neurons_to_nir(np.asarray(in_numpy(getattr(cell, name)), "float32"), current)

        if type(cell) is ReadoutCell:
            beta = of_each("beta")
            if not equations.leaks(cell.name, beta):
                return self.nir.I(r=equations.without_leak(self.dt) * ones)
            tau, r = equations.leaky(beta, self.dt)
            return self.nir.LI(tau=tau, r=beta * r, v_leak=0 * ones)
        if type(cell) not in (LIFCell, IFCell, PoolingCell):
            raise ValueError(f"The cell {cell.name!r} ({type(cell).__name__}) has no node in NIR")
        # the neurons of NIR are set to v_reset when they fire, and start at 0
        check_allowed(cell, signed=False, reset_mechanism="zero", initial_membrane=0)
        beta, common = of_each("beta"), {"v_threshold": of_each("threshold"), "v_reset": 0 * ones}
        leaks = equations.leaks(cell.name, beta)
        if cell.synaptic_beta is not None:
            synaptic_beta = of_each("synaptic_beta")
            if not (leaks and equations.leaks(cell.name, synaptic_beta)):
                raise ValueError(f"The cell {cell.name!r} must have beta and synaptic_beta below 1, for NIR")
            (tau_syn, w_in), (tau, r) = (equations.leaky(b, self.dt) for b in (synaptic_beta, beta))
            return self.nir.CubaLIF(tau_syn=tau_syn, w_in=w_in, tau_mem=tau, r=r, v_leak=0 * ones, **common)
        if not leaks:
            return self.nir.IF(r=equations.without_leak(self.dt) * ones, **common)
        if equations.forgets(beta):
            return self.nir.Threshold(threshold=common["v_threshold"])
        tau, r = equations.leaky(beta, self.dt)
        return self.nir.LIF(tau=tau, r=r, v_leak=0 * ones, **common)

    def add(self, name: str, node: Any, sources: list[str]) -> list[str]:
        """Adds a node after its sources; returns its name, made unique, as the sources of what follows."""
        name = unique_name(name, {*self.nodes, "output"})
        self.nodes[name] = node
        self.edges += [(source, name) for source in sources]
        return [name]
