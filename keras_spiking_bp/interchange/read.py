"""`from_nir`: a NIR graph as a network of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_spiking_bp.cells import (
    Cell,
    GraphCell,
    IFCell,
    LIFCell,
    PoolingCell,
    ReadoutCell,
    RecurrentCell,
    SequentialCell,
)
from keras_spiking_bp.cells.graph import INPUT
from keras_spiking_bp.cells.neuron import NeuronCell
from keras_spiking_bp.encoders.base import Encoder
from keras_spiking_bp.gradients import surrogates
from keras_spiking_bp.gradients.surrogates import Surrogate
from keras_spiking_bp.interchange import equations
from keras_spiking_bp.interchange.axes import Signal, neurons_from_nir, swapped
from keras_spiking_bp.interchange.nodes import READOUTS, Nodes, the_only
from keras_spiking_bp.interchange.read_layers import READERS, joined, keras_name, scaled
from keras_spiking_bp.models.parts import assemble
from keras_spiking_bp.utils.validation import check_positive

if TYPE_CHECKING:
    import nir


def from_nir(
    graph: nir.NIRGraph,
    dt: float | None = None,
    encoder: Encoder | str | None = None,
    num_steps: int | None = None,
    gradient: str | None = None,
    reset_mechanism: str = "zero",
    surrogate: Surrogate | str | None = None,
    name: str = "from_nir",
) -> keras.Model:
    """A network from a NIR graph, as `to_nir`, snnTorch, SpikingJelly and others write it.

    A `LIF` node becomes a `LIFCell` with `beta = 1 - dt / tau` and `threshold = v_threshold * tau / (r dt)`, an `IF` an
    `IFCell` (a `PoolingCell` where `to_nir` recorded one), a `CubaLIF` a `LIFCell` with `synaptic_beta = 1 - dt /
    tau_syn`, an `LI` or `I` a `ReadoutCell`; a path from neurons back to themselves becomes a `RecurrentCell`, whose
    spikes arrive in the next step (docs/nir.md has the table). Nodes in a row become a `SequentialCell`, a graph whose
    paths branch and meet a `GraphCell` in one. Images are (H, W, C) here, series (L, C).

    `from_nir(nir.read(path))` loads a file.

    Args:
        graph: a `nir.NIRGraph` with one input and one output.
        dt: length of a time step in seconds. None: the one in the metadata of the graph, or else 1e-4 (snnTorch's and
            SpikingJelly's).
        encoder, num_steps, name: as in `models.spiking_vgg`; without an encoder the input is spikes (B, T, ...).
        gradient: `gradient` of the `SpikingRNN`. None: `"bptt"` for a recurrent network, else `"accumulated"`.
        reset_mechanism: `"zero"`, as in NIR, or `"subtract"`, for a network trained that way by a library whose files
            do not say so (snnTorch).
        surrogate: of all neurons, as in `LIFCell`, a function of the potentials in the graph, to train further as in
            the library that wrote it, with `gradient="bptt"`: readouts then differentiate their leak, too. None: the
            paper's derivative; that of `"atan"` for neurons without memory, as a `Threshold`; recurrent ones as in
            `RecurrentCell`.

    Returns:
        A `keras.Model`, from spikes (or images) to `V[T] / T`, or to firing rates where the graph ends in spikes;
        float32. `SpikingRNN(model.layers[-1].cell, return_sequences=True)` returns each step.

    Raises:
        ValueError: if `graph` has a node, a parameter or a connection that no cell has.

    Example:
        >>> cell = LIFCell(keras.layers.Dense(3, use_bias=False), beta=0.75)
        >>> layer = SpikingRNN(cell)
        >>> layer.build((None, None, 4))
        >>> model = from_nir(to_nir(layer))
        >>> spikes = np.ones((2, 10, 4), "float32")
        >>> bool(np.all(model(spikes) == layer(spikes)))
        True
    """
    dt = check_positive("dt", float(graph.metadata.get("dt", 1e-4)) if dt is None else dt)
    surrogate = surrogates.get(surrogate)
    nodes = Nodes(graph)
    start, input_shape = nodes.input()

    def make_cell(name: str, synapse: keras.layers.Layer, current: Signal) -> NeuronCell | RecurrentCell:
        if nodes.kind(name) in READOUTS:
            return _readout(name, nodes.of[name], synapse, current, dt, differentiate_leak=surrogate is not None)
        cell = _spiking(name, nodes.of[name], synapse, current, dt, reset_mechanism, surrogate)
        return _recurrent(nodes, name, cell, current) if name in nodes.recurrent_paths else cell

    parts, signal = _read_graph(nodes, make_cell, start, Signal(input_shape))
    signal.check_order("The output of the graph")
    if gradient is None:
        gradient = "bptt" if nodes.recurrent_paths else "accumulated"
    return assemble(SequentialCell(parts, name="network"), input_shape, num_steps, encoder, gradient, None, name)


def _read_graph(
    nodes: Nodes, make_cell: Callable[[str, keras.layers.Layer, Signal], Cell], start: str, signal: Signal
) -> tuple[list[keras.layers.Layer], Signal]:
    """The cells and layers in a row, and the output; what branches and meets is in one `GraphCell`, with sums."""
    signals, names = {start: signal}, {start: INPUT}
    parts: dict[str, tuple[keras.layers.Layer, list[str]]] = {}

    def take(name: str) -> tuple[list[str], Signal]:
        """The name of the layer with the inputs of a node, which are added; their signal."""
        sources = nodes.sources[name]
        if len(sources) == 1:
            return [names[sources[0]]], signals[sources[0]]
        terms = [signals[source] for source in sources]
        for term in terms:
            term.check_order(f"The node {name!r}")
        if len(shapes := {term.shape for term in terms}) > 1:
            raise ValueError(f"The node {name!r} must get inputs of one shape. Received: {shapes}, channels last")
        add = keras.layers.Add(name=f"{keras_name(name)}_inputs", dtype="float32")
        parts[add.name] = (add, [names[source] for source in sources])
        return [add.name], signals[sources[0]]

    for name in nodes.in_order():
        inputs, signal = take(name)
        if nodes.kind(name) in READERS:
            layer, signal = READERS[nodes.kind(name)](name, nodes.of[name], signal)
        else:
            synapse = keras.layers.Identity(dtype="float32")
            source = nodes.sources[name][0]
            if len(nodes.sources[name]) == len(nodes.followers[source]) == 1 and nodes.kind(source) in READERS:
                synapse, inputs = parts.pop(source)
            layer = make_cell(name, synapse, signal)
        parts[name], names[name], signals[name] = (layer, inputs), layer.name, signal
    _, signal = take(the_only("Output", nodes.of))
    inside = list(parts.values())
    before = [INPUT, *(layer.name for layer, _ in inside)]
    if all(inputs == [name] for (_, inputs), name in zip(inside, before, strict=False)):
        return [layer for layer, _ in inside], signal
    behind: list[keras.layers.Layer] = []
    while inside and not isinstance(inside[-1][0], (Cell, keras.layers.Add)):
        behind.insert(0, inside.pop()[0])
    return [GraphCell(inside, name="graph"), *behind], signal


def _recurrent(nodes: Nodes, name: str, cell: NeuronCell, signal: Signal) -> RecurrentCell:
    """The cell of a node, with its feedback path."""
    signal.check_order(f"The way back to the node {name!r}")
    layers, back = [], signal
    for part in nodes.recurrent_paths[name]:
        layer, back = READERS[nodes.kind(part)](part, nodes.of[part], back)
        layers.append(layer)
    return RecurrentCell(cell, joined(layers), name=f"{keras_name(name)}_recurrent")


def _spiking(
    name: str, node: Any, synapse: keras.layers.Layer, current: Signal, dt: float, reset: str, surrogate: Any
) -> NeuronCell:
    """The cell of the spiking neurons of a node, whose synapse gives `current`."""
    kind = type(node).__name__
    parameters: dict[str, Any] = equations.OF_SPIKING[kind](name, node, dt)
    parameters = {key: _ours(name, value, current) for key, value in parameters.items()}
    gain = parameters.pop("gain", 1.0)
    if surrogate is not None and np.any(gain != 1):  # it is a function of the potential in the graph
        surrogate = surrogate.scaled(1.0 / gain)
    if np.min(parameters["beta"]) <= equations.NO_MEMORY:  # the paper's derivative needs neurons with memory
        surrogate = surrogate or surrogates.ATan()
    parameters |= {"reset_mechanism": reset, "surrogate": surrogate, "name": keras_name(name)}
    parameters["dropout"] = float(node.metadata.get("dropout", 0.0))
    if kind == "IF":
        del parameters["beta"]
        pools = node.metadata.get("cell") == PoolingCell.__name__  # to_nir wrote it
        return (PoolingCell if pools else IFCell)(synapse, **parameters)
    if kind == "LIF" and np.any(rest := _ours(name, equations.read_resting_current(node), current)):
        constant = np.broadcast_to(rest, current.shape).tolist()
        synapse = joined([synapse, keras.layers.Rescaling(1.0, offset=constant, dtype="float32")])
    return LIFCell(synapse, **parameters)


def _readout(
    name: str, node: Any, synapse: keras.layers.Layer, current: Signal, dt: float, differentiate_leak: bool
) -> ReadoutCell:
    beta, factor = (equations.read_li if type(node).__name__ == "LI" else equations.read_i)(name, node, dt)
    beta, factor = _ours(name, beta, current), _ours(name, factor, current)
    if np.any(factor != 1):
        synapse = scaled(synapse, factor)
    return ReadoutCell(synapse, beta=beta, differentiate_leak=differentiate_leak, name=keras_name(name))


def _ours(name: str, value: Any, signal: Signal) -> Any:
    """A parameter with one value for each neuron, in our order; others as they are."""
    if not isinstance(value, np.ndarray):
        return value
    wanted = swapped(signal.shape, "first")
    fits = value.ndim == len(wanted) and all(n in (1, m) for n, m in zip(value.shape, wanted, strict=True))
    if not fits:  # NumPy would align a vector with the last axis, the width of a picture
        raise ValueError(f"The parameters of node {name!r} must have the shape {wanted}. Received: {value.shape}")
    return neurons_from_nir(value, signal)
