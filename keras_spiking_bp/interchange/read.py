"""`from_nir`: a NIR graph as a network of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras

from keras_spiking_bp.cells import Cell, GraphCell, RecurrentCell, ResidualCell, SequentialCell
from keras_spiking_bp.cells.base import NeuronCell
from keras_spiking_bp.cells.graph import INPUT
from keras_spiking_bp.cells.lif import RESET_MECHANISMS
from keras_spiking_bp.encoders import Encoder
from keras_spiking_bp.interchange.axes import Signal, swapped
from keras_spiking_bp.interchange.flat import flat
from keras_spiking_bp.interchange.read_layers import READERS, joined, keras_name, read_layer
from keras_spiking_bp.interchange.read_neurons import READOUTS, SPIKING, read_neurons
from keras_spiking_bp.models.assemble import assemble
from keras_spiking_bp.validation import check_choice, check_positive

if TYPE_CHECKING:
    import nir

_ALLOWED = sorted(["Input", "Output", *SPIKING, *READOUTS, *READERS])
_DEFAULT_DT = 1e-4


class _OtherGraph(Exception):
    """Paths meet elsewhere than in residual blocks."""


def from_nir(
    graph: nir.NIRGraph,
    dt: float | None = None,
    encoder: Encoder | str | None = None,
    num_steps: int | None = None,
    gradient: str | None = None,
    reset_mechanism: str = "zero",
    name: str = "from_nir",
) -> keras.Model:
    """A network from a NIR graph, as `to_nir`, snnTorch, SpikingJelly and others write it.

    A `LIF` node becomes a `LIFCell` with `beta = 1 - dt / tau` and `threshold = v_threshold * tau / (r dt)`, an `IF` a
    `LIFCell` with `beta = 1`, a `CubaLIF` one with `synaptic_beta = 1 - dt / tau_syn`, an `LI` or `I` a `ReadoutCell`;
    a path from neurons back to themselves becomes a `RecurrentCell`, whose spikes arrive in the next step (docs/nir.md
    has the table). Two paths that meet in one layer of neurons, one of them without neurons, become a `ResidualCell`; a
    graph whose paths meet elsewhere becomes a `GraphCell`. Parameters may differ from neuron to neuron. Nested graphs
    are flattened. An `IFCell`, with the same spikes but a derivative without `1 / threshold`, is created only where
    `to_nir` recorded one in the metadata of the `IF`. Images are (H, W, C) here, series (L, C).

    `from_nir(nir.read(path))` loads a file.

    Args:
        graph: a `nir.NIRGraph` with one input and one output.
        dt: length of a time step in seconds, > 0. None: the one in the metadata of the graph, or else 1e-4 (snnTorch's
            and SpikingJelly's; for Norse see docs/nir.md).
        encoder, num_steps, name: as in `models.spiking_vgg`; without an encoder the input is spikes (B, T, ...).
        gradient: `gradient` of the `SpikingRNN`. None: `"bptt"` for a recurrent network, else `"accumulated"`.
        reset_mechanism: `"zero"`, as in NIR, or `"subtract"`, for a network trained that way by a library whose files
            do not say so (snnTorch).

    Returns:
        A `keras.Model`, from spikes (or images) to `V[T] / T`, or to firing rates where the graph ends in spikes;
        float32. `SpikingRNN(model.layers[-1].cell, return_sequences=True)` returns each step.

    Raises:
        TypeError: if `graph` is not a graph.
        ValueError: if `graph` has a node, a parameter or a connection that no cell has; the error names it.

    Example:
        >>> cell = LIFCell(keras.layers.Dense(3, use_bias=False), beta=0.75)
        >>> layer = SpikingRNN(cell)
        >>> layer.build((None, None, 4))
        >>> model = from_nir(to_nir(layer))
        >>> spikes = np.ones((2, 10, 4), "float32")
        >>> bool(np.all(model(spikes) == layer(spikes)))
        True
    """
    if not (hasattr(graph, "nodes") and hasattr(graph, "edges")):
        raise TypeError(f"`graph` must be a nir.NIRGraph; nir.read(path) loads one. Received: graph={graph!r}")
    metadata = graph.metadata if isinstance(graph.metadata, dict) else {}
    dt = check_positive("dt", float(metadata.get("dt", _DEFAULT_DT)) if dt is None else dt)
    reader = _Reader(graph, dt, check_choice("reset_mechanism", reset_mechanism, RESET_MECHANISMS))
    start, input_shape = reader.input()
    parts, signal = reader.network(start, Signal(input_shape))
    signal.check_order("The output of the graph")
    if gradient is None:
        gradient = "bptt" if reader.ways_back else "accumulated"
    return assemble(SequentialCell(parts, name="network"), input_shape, num_steps, encoder, gradient, None, name)


class _Reader:
    """Follows the edges of a graph from its input to its output."""

    def __init__(self, graph: nir.NIRGraph, dt: float, reset_mechanism: str):
        self.dt, self.reset_mechanism = dt, reset_mechanism
        self.nodes, edges = flat(graph)
        self.sources = {name: [a for a, b in edges if b == name] for name in self.nodes}
        self.followers = {name: [b for a, b in edges if a == name] for name in self.nodes}
        for name in self.nodes:
            if self._kind(name) not in _ALLOWED:
                raise ValueError(
                    f"`graph` has the node {name!r} of type {self._kind(name)}, for which there is no cell. "
                    f"Allowed are {', '.join(_ALLOWED)}"
                )
        names = [keras_name(name) for name in self.nodes]
        alike = [name for name in self.nodes if names.count(keras_name(name)) > 1]
        if alike:
            raise ValueError(
                "The nodes of `graph` must have names that differ in Keras too, where all characters but A-Z, a-z and "
                f"0-9 become _, and a first _ becomes node_. Received: {alike}"
            )
        for kind in ("Input", "Output"):
            found = [name for name in self.nodes if self._kind(name) == kind]
            if len(found) != 1:
                raise ValueError(f"`graph` must have one {kind} node. Received: {found}")
        if not any(self._kind(name) in SPIKING + READOUTS for name in self.nodes):
            raise ValueError(f"`graph` must have neurons. Received: {[self._kind(name) for name in self.nodes]}")
        self.ways_back = {name: back for name in self.nodes if (back := self._cut_way_back(name)) is not None}

    def _kind(self, name: str) -> str:
        return type(self.nodes[name]).__name__

    def _cut_way_back(self, name: str) -> list[str] | None:
        """The layers from the neurons `name` back to themselves, whose edges are then removed; None if none."""
        found = [path for follower in self.followers[name] if (path := self._path(follower, name)) is not None]
        if self._kind(name) not in SPIKING or not found:
            return None
        if len(found) > 1:
            raise ValueError(f"The node {name!r} must have one path back to itself. Received: {len(found)}, {found}")
        (path,) = found
        self.followers[name].remove(path[0] if path else name)
        self.sources[name].remove(path[-1] if path else name)
        return path

    def _path(self, name: str, end: str) -> list[str] | None:
        """The layers from the node `name` to `end`, without neurons or branches; None if there is no such path."""
        path = []
        while name != end:
            if name in path or self._kind(name) not in READERS:
                return None
            if len(self.sources[name]) != 1 or len(self.followers[name]) != 1:
                return None
            path.append(name)
            name = self.followers[name][0]
        return path

    def input(self) -> tuple[str, tuple[int, ...]]:
        """The name of the input node, and the shape of a step with channels last."""
        name = next(name for name in self.nodes if self._kind(name) == "Input")
        shape = tuple(int(size) for size in self.nodes[name].input_type["input"])
        if len(shape) not in (1, 2, 3):
            raise ValueError(
                "The input of `graph` must be one step of one sample, (N,), (C, L) or (C, H, W). In snnTorch, export "
                f"with ignore_dims=[0], which leaves out the batch. Received: {shape}"
            )
        return name, swapped(shape, "last")

    def network(self, start: str, signal: Signal) -> tuple[list[keras.layers.Layer], Signal]:
        """All cells, and layers without neurons, after the input."""
        try:
            return self._chain(start, signal)
        except _OtherGraph:
            return self._graph(start, signal)

    def _chain(self, start: str, signal: Signal) -> tuple[list[keras.layers.Layer], Signal]:
        """The same, for a chain of cells and residual blocks."""
        blocks, name, signal = self._behind(start, signal)
        cells, layers, last, signal = self._from(name, signal)
        if self._kind(last) != "Output":
            raise _OtherGraph
        if layers and cells and cells[-1].emits != "spikes":
            raise ValueError(f"Behind the last LI or I node there must be neurons, or the output. Received: {last!r}")
        return [*blocks, *cells, *layers], signal

    def _from(
        self, name: str, signal: Signal
    ) -> tuple[list[keras.layers.Layer], list[keras.layers.Layer], str, Signal]:
        """From a node up to the output, or to neurons where paths meet.

        Returns the cells, the layers after the last of them, the node where it ends, and the signal that arrives.
        """
        cells: list[keras.layers.Layer] = []
        layers: list[keras.layers.Layer] = []
        while self._kind(name) != "Output" and len(self.sources[name]) == 1:
            if self._kind(name) in READERS:
                layer, signal = read_layer(name, self.nodes[name], signal)
                layers.append(layer)
            else:
                synapse = layers.pop() if layers else keras.layers.Identity(dtype="float32")
                cells, layers = [*cells, *layers, self._cell(name, synapse, signal)], []
            blocks, name, signal = self._behind(name, signal)
            if blocks:
                cells, layers = [*cells, *layers, *blocks], []
        return cells, layers, name, signal

    def _behind(self, name: str, signal: Signal) -> tuple[list[ResidualCell], str, Signal]:
        """The residual blocks right after a node, and the node after these."""
        blocks = []
        while len(self.followers[name]) > 1:
            block, name, signal = self._block(name, signal)
            blocks.append(block)
        if not self.followers[name]:
            raise ValueError(f"The node {name!r} must lead to the output of `graph`. Received: no edge from it")
        return blocks, self.followers[name][0], signal

    def _block(self, name: str, signal: Signal) -> tuple[ResidualCell, str, Signal]:
        """The residual block after a node, the name of its junction, and the current that arrives there."""
        paths = [self._from(follower, signal) for follower in self.followers[name]]
        paths.sort(key=lambda path: len(path[0]))  # first the one without neurons
        junction = paths[0][2]
        if not (
            len(paths) == len(self.sources[junction]) == 2
            and paths[1][2] == junction
            and not paths[0][0]
            and paths[1][0]
            and self._kind(junction) in SPIKING
            and junction not in self.ways_back
        ):
            raise _OtherGraph
        (_, around, _, shortcut), (body, through, _, current) = paths
        if body[-1].emits != "spikes":
            raise ValueError(f"The path from {name!r} to {junction!r} must end in neurons that fire, not in LI or I")
        for arriving in (shortcut, current):
            arriving.check_order(f"The node {junction!r}")
        cell = ResidualCell(
            body[0] if len(body) == 1 else SequentialCell(body),
            read_neurons(junction, self.nodes[junction], joined(through), current, self.dt, self.reset_mechanism),
            joined(around) if around else None,
            name=f"{keras_name(junction)}_block",
        )
        return cell, junction, current

    def _graph(self, start: str, signal: Signal) -> tuple[list[keras.layers.Layer], Signal]:
        """All nodes in one `GraphCell`, and layers without neurons after it; where paths meet, their sum."""
        signals, names = {start: signal}, {start: INPUT}
        parts: dict[str, tuple[keras.layers.Layer, list[str]]] = {}
        for name in self._in_order(start):
            sources, taken = self.sources[name], [names[source] for source in self.sources[name]]
            signal = signals[sources[0]]
            if len(sources) > 1:
                for source in sources:
                    signals[source].check_order(f"The node {name!r}")
                if len(shapes := {signals[source].shape for source in sources}) > 1:
                    raise ValueError(
                        f"The node {name!r} must get inputs of one shape, which are added. Received: {shapes}, "
                        "channels last"
                    )
                add = keras.layers.Add(name=f"{keras_name(name)}_inputs", dtype="float32")
                parts[add.name], taken = (add, taken), [add.name]
            if self._kind(name) == "Output":
                break
            if self._kind(name) in READERS:
                layer, signal = read_layer(name, self.nodes[name], signal)
            else:
                synapse = keras.layers.Identity(dtype="float32")
                if len(sources) == len(self.followers[sources[0]]) == 1 and self._kind(sources[0]) in READERS:
                    synapse, taken = parts.pop(sources[0])
                layer = self._cell(name, synapse, signal)
                if layer.emits != "spikes" and self._kind(self.followers[name][0]) != "Output":
                    raise ValueError(f"The node {name!r}, an LI or I, must be the last where paths branch and meet")
            parts[name], names[name], signals[name] = (layer, taken), layer.name, signal
        nodes = list(parts.values())
        behind: list[keras.layers.Layer] = []
        while not isinstance(nodes[-1][0], (Cell, keras.layers.Add)):
            behind.insert(0, nodes.pop()[0])
        if not isinstance(nodes[-1][0], Cell) or (behind and nodes[-1][0].emits != "spikes"):
            raise ValueError(
                "Paths may not meet behind the last neurons of `graph`: its output must be that of an LI or I, or of "
                f"one layer of neurons that fire, or of layers behind it. Received: {self.sources[name]}"
            )
        return [GraphCell(nodes, name="graph"), *behind], signal

    def _in_order(self, start: str) -> list[str]:
        """The nodes after the input, each after its sources, without those of a way back; the last is the output."""
        looped = {part for path in self.ways_back.values() for part in path}
        order, rest = [start], [name for name in self.nodes if name not in looped | {start}]
        for name in rest:
            if not self.sources[name]:
                raise ValueError(f"The node {name!r} must have a source in `graph`. Received: no edge to it")
            if not self.followers[name] and self._kind(name) != "Output":
                raise ValueError(f"The node {name!r} must lead to the output of `graph`. Received: no edge from it")
        while rest:
            ready = [name for name in rest if all(source in order for source in self.sources[name])]
            if not ready:
                raise ValueError(
                    f"The nodes {rest} wait for each other. The only way back that has a cell is that of neurons to "
                    "themselves, through layers of its own"
                )
            order += ready
            rest = [name for name in rest if name not in ready]
        return order[1:]

    def _cell(self, name: str, synapse: keras.layers.Layer, current: Signal) -> NeuronCell | RecurrentCell:
        """The cell of the neurons `name`, with their feedback path if they have one."""
        cell = read_neurons(name, self.nodes[name], synapse, current, self.dt, self.reset_mechanism)
        return self._recurrent(name, cell, current)

    def _recurrent(self, name: str, cell: NeuronCell, signal: Signal) -> NeuronCell | RecurrentCell:
        """The cell of a node, with its feedback path if it has one."""
        if name not in self.ways_back:
            return cell
        signal.check_order(f"The way back to the node {name!r}")
        layers, back = [], signal
        for part in self.ways_back[name]:
            layer, back = read_layer(part, self.nodes[part], back)
            layers.append(layer)
        return RecurrentCell(cell, joined(layers), name=f"{keras_name(name)}_recurrent")
