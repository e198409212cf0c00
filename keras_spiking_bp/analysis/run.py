"""One pass of a network over data, counting everything that the analysis needs."""

import dataclasses
import functools
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.analysis.ann_operations import computes_sums
from keras_spiking_bp.analysis.counter import counter
from keras_spiking_bp.analysis.data import batches_of, checked_labels, class_indices
from keras_spiking_bp.analysis.synapse_counts import PASSES_ON, fan_out
from keras_spiking_bp.cells import MaxPoolingCell
from keras_spiking_bp.cells.walk import checked_names
from keras_spiking_bp.encoders.base import Encoder
from keras_spiking_bp.rnn.connections import INPUT, Connection, connections
from keras_spiking_bp.rnn.encoded_inputs import as_inputs, encoded_by, stream_restored
from keras_spiking_bp.rnn.layer import SpikingRNN
from keras_spiking_bp.rnn.observe import SATURATED_RATE
from keras_spiking_bp.rnn.spiking_model import input_over_time, output_layer, sequences_and_mask
from keras_spiking_bp.utils.layer_kinds import parts_of


@dataclasses.dataclass(frozen=True)
class Run:
    """Activity of a network on N samples over T time steps. Returned by `run`, used by all of `analysis`.

    Attributes:
        outputs: `V[t] / t` at each step t, or firing rates so far, (N, T, ...).
        steps: the number of steps t so far that no mask skips, (N, T).
        labels: class indices (N,), or None.
        neurons: number of neurons of each spiking layer, by name; `"input"` for the input, if it is spikes.
        spikes: spikes of each of them in each step, (N, T).
        silent: for each layer of neurons, without the input, the share of them that fired for no sample.
        saturated: likewise the share of samples and neurons with a spike in more than 90 % of the steps.
        connections: all connections.
        synapses: number of synapses of each connection; empty if they cannot be counted.
        operations: synaptic operations of each connection, by name, in each step, (N, T): each spike (each nonzero
            value, if the input is not spikes) counts once for each synapse that it reaches. Empty likewise.
        spiking_input: whether the input consists of spikes (-1, 0 or 1).
        updates: number of potentials updated per step, with synaptic currents and the counts of max pooling.
        encoded: whether an encoder makes the time steps of one sample; if not, the sample is a series.
        uncounted: why operations cannot be counted; empty if they are.
    """

    outputs: np.ndarray
    steps: np.ndarray
    labels: np.ndarray | None
    neurons: dict[str, int]
    spikes: dict[str, np.ndarray]
    silent: dict[str, float]
    saturated: dict[str, float]
    connections: tuple[Connection, ...]
    synapses: tuple[int, ...]
    operations: dict[str, np.ndarray]
    spiking_input: bool
    updates: int
    encoded: bool
    uncounted: str

    @property
    def num_steps(self) -> int:
        return self.outputs.shape[1]

    @property
    def mean_steps(self) -> float:
        """Time steps that no mask skips, mean over the samples."""
        return float(self.steps[:, -1].mean())

    @property
    def samples(self) -> int:
        return len(self.outputs)

    def correct(self) -> np.ndarray:
        """Whether the class with the largest output is right, at each step, boolean (N, T); needs labels."""
        labels = checked_labels(self.labels, self.outputs.shape[2:])
        return self.outputs.argmax(-1) == labels[:, None]

    def multiplies(self, path: Connection) -> bool:
        """Whether this connection multiplies: weights on a non-spiking input, or on potentials."""
        return path.source not in self.spikes and not path.is_pooling()

    def so_far(self) -> dict[str, np.ndarray]:
        """`spikes` (without the input) of each sample up to each step, (N, T); `accumulates` and `macs` if counted."""
        none = np.zeros((self.samples, self.num_steps))  # float64, for sums over many samples
        sums = {"spikes": [none, *(spikes for name, spikes in self.spikes.items() if name != INPUT)]}
        if not self.uncounted:
            sums |= {"accumulates": [none], "macs": [none]}
            for path in self.connections:
                sums["macs" if self.multiplies(path) else "accumulates"].append(self.operations[path.name])
        return {name: np.sum(parts, 0).cumsum(1) for name, parts in sums.items()}


def run(model: keras.Model, data: Any, labels: Any = None, batch_size: int = 50, verbose: int = 1) -> Run:
    """Runs a spiking network once over `data` and counts spikes and operations, step by step.

    Neurons start at rest for each sample, those of a stateful layer too.

    Args:
        model: a built functional or sequential model that ends in its one `SpikingRNN`. The random stream of its
            encoder is restored: repeated calls return the same.
        data: inputs of the model as an array, (N, ...); or a `tf.data.Dataset`, `keras.utils.PyDataset` or
            `datasets.Batches` (its first epoch) of batches, of inputs or of `(inputs, labels)`. Several inputs, such as
            a series and its mask, come in batches.
        labels: class indices (N,), or one-hot (N, classes); None if `data` has them, or not needed.
        batch_size: samples at a time, for an array.
        verbose: 1 shows a progress bar.

    Raises:
        TypeError: if the model has no `SpikingRNN`, or a `call` of its own; or if `data` has another type.
        ValueError: if the model does not end in that layer, runs backwards, or has two cells of one name, joins that
            cannot be followed, or max pooling of values that are not spikes; if `data` is endless or not in batches, or
            `labels` does not fit.

    Example:
        >>> model = models.spiking_vgg((8, 8, 1), 3, [(4, 3), "pool"], [16], num_steps=10, seed=0)
        >>> images = np.random.default_rng(0).uniform(0, 1, (6, 8, 8, 1)).astype("float32")
        >>> done = analysis.run(model, images, verbose=0)
        >>> done.outputs.shape, done.spikes["conv1"].shape, done.neurons["fc1"]
        ((6, 10, 3), (6, 10), 16)
    """
    return as_run(model, data, labels, batch_size, verbose)


def as_run(
    model: keras.Model | Run,
    data: Any,
    labels: Any,
    batch_size: int,
    verbose: int,
    labelled: bool = True,
    counted: bool = False,
    classified: bool = False,
) -> Run:
    """`model` itself if it is a `Run` already (with `labels`, if there are any), else a run of it over `data`.

    `labelled`: whether the targets in `data` are labels. `counted`: whether operations are needed. `classified`:
    whether labels are, which are then checked batch by batch.
    """
    if isinstance(model, Run):
        if counted and model.uncounted:
            raise ValueError(model.uncounted)
        if data is not None:
            raise ValueError("`data` must be None where a Run is given, which has seen its data already")
        return model if labels is None else dataclasses.replace(model, labels=class_indices(labels, model.samples))
    layer, paths, fans, uncounted = plan(model, counted)
    front = input_over_time(model)
    batches, number = batches_of(data, labels, batch_size, labelled)
    encoded = any(isinstance(part, Encoder) for part in front._flatten_layers())
    encode = functools.partial(encoded_by, front)  # eagerly: in a graph Keras loses the masks of some layers
    if encoded:  # which eagerly would run image by image
        encode = tf.function(encode, reduce_retracing=True, autograph=False)
    count = counter(layer, paths, fans)
    neurons = {n.name: math.prod(n.output_shape_of_step) for n in layer.cell.neurons() if n.emits == "spikes"}

    counts: list[dict[str, Any]] = []
    targets: list[np.ndarray] = []
    most: dict[str, Any] = dict.fromkeys(neurons, 0)
    bar = keras.utils.Progbar(number, verbose=verbose)
    with stream_restored(front):
        for inputs, labels_of_batch in batches:
            tensors = [value for value in encode(as_inputs(model, inputs)) if value is not None]
            any_size = [tf.TensorSpec((None, None, *x.shape[2:]), x.dtype) for x in tensors]  # the last may be smaller
            batch = keras.tree.map_structure(np.asarray, count.get_concrete_function(*any_size)(*tensors))
            totals = batch.pop("totals")
            counts.append(batch)
            if classified:
                checked_labels(labels_of_batch, batch["outputs"].shape[2:])
            if labels_of_batch is not None:
                targets.append(labels_of_batch)
            many = SATURATED_RATE * batch["steps"][:, -1:]
            batch["saturated"] = np.stack([(totals[name].reshape(len(many), -1) > many).mean(1) for name in neurons], 1)
            most = {name: np.maximum(most[name], totals[name].max(0)) for name in neurons}
            _check_max_pooling(layer, paths, bool(batch["is_spikes"].all()))
            bar.add(1)

    whole = {name: np.concatenate([batch[name] for batch in counts]) for name in counts[0]}
    carried = [item for n in layer.cell.neurons() if n.carries_state for item in n.carried_shapes.items()]
    spiking_input = bool(whole["is_spikes"].all())
    sizes = {INPUT: math.prod(front.outputs[0].shape[2:]), **neurons} if spiking_input else neurons
    return Run(
        outputs=whole["outputs"],
        steps=whole["steps"],
        labels=np.concatenate(targets) if targets else None,
        neurons=sizes,
        spikes={name: whole["spikes"][:, :, i] for i, name in enumerate([INPUT, *neurons]) if name in sizes},
        silent={name: float((count_of_layer == 0).mean()) for name, count_of_layer in most.items()},
        saturated=dict(zip(neurons, whole["saturated"].mean(0).tolist(), strict=True)),
        connections=paths,
        synapses=tuple(round(fan.sum()) for fan in fans),
        operations={path.name: whole["operations"][:, :, i] for i, path in enumerate(paths if fans else ())},
        spiking_input=spiking_input,
        updates=sum(math.prod(shape) for entry, shape in carried if entry != "fed_back"),  # kept, not computed
        encoded=encoded,
        uncounted=uncounted,
    )


def plan(
    model: keras.Model, counted: bool = False
) -> tuple[SpikingRNN, tuple[Connection, ...], tuple[np.ndarray, ...], str]:
    """The one `SpikingRNN`, its connections, the synapses that each spike reaches; if these have no count, why."""
    layer = output_layer(model)
    if layer.go_backwards:
        raise ValueError(f"`model` must not have go_backwards=True in {layer.name!r}. Reverse the data instead")
    reserved = {INPUT, "total"} & set(checked_names(layer.cell))
    if reserved:
        raise ValueError(f"The cells of `model` must not be called {sorted(reserved)}: tables have rows of that name")
    paths = tuple(connections(layer.cell, sequences_and_mask(model)[0].shape[2:]))
    _check_max_pooling(layer, paths, spiking_input=True)
    try:
        others = [part.name for part in model.layers if part is not layer and computes_sums(part)]
        if others:
            raise ValueError(f"Operations cannot be counted: its layers {others} are outside of the SpikingRNN")
        return layer, paths, tuple(fan_out(path.layers, path.source_shape) for path in paths), ""
    except ValueError as error:  # spikes can be counted all the same
        if counted:
            raise
        return layer, paths, (), str(error)


def _check_max_pooling(layer: SpikingRNN, paths: tuple[Connection, ...], spiking_input: bool) -> None:
    """Rejects max pooling of currents, potentials, sums or averages: it gives numbers that are no spikes."""
    emits = {neuron.name: neuron.emits for neuron in layer.cell.neurons()}
    emits[INPUT] = "spikes" if spiking_input else "numbers"
    pools = {neuron.name for neuron in layer.cell.neurons() if isinstance(neuron, MaxPoolingCell)}
    for path in paths:
        before = [part for inner in path.layers[:-1] for part in parts_of(inner)]
        moves = all(isinstance(part, (*PASSES_ON, keras.layers.Concatenate)) for part in before)
        if path.target in pools and not (moves and emits[path.source] == "spikes"):
            raise ValueError(f"The max pooling {path.target!r} gets an input that is no spikes. Use a PoissonEncoder")
