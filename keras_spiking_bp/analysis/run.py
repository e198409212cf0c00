"""One pass of a network over data, counting everything that the analysis needs."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.analysis.counter import counter
from keras_spiking_bp.analysis.data import NO_LABELS, batches_of, check_classes, checked_labels, is_correct
from keras_spiking_bp.analysis.model_operations import OperationCount
from keras_spiking_bp.analysis.plan import plan
from keras_spiking_bp.encoders import Encoder
from keras_spiking_bp.rnn.connections import INPUT, Connection
from keras_spiking_bp.rnn.encoded_inputs import as_inputs, encoded_by, stream_restored
from keras_spiking_bp.rnn.observe import SATURATED_RATE
from keras_spiking_bp.rnn.spiking_model import input_over_time
from keras_spiking_bp.utils.validation import check_positive_int


@dataclasses.dataclass(frozen=True)
class Run:
    """Activity of a network on N samples over T time steps. Returned by `run`, used by all of `analysis`.

    Attributes:
        outputs: `V[t] / t` at each step t (for a network that ends in spikes, its firing rates so far), (N, T, ...).
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
        updates: number of potentials updated per step: those of all neurons, the readout's too, synaptic currents, and
            the counts of max pooling.
        before: operations of the layers before the encoder, once per sample: `accumulates` and `macs`.
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
    before: OperationCount
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
        """Whether the class with the largest output is right, at each step, boolean (N, T).

        Raises:
            ValueError: if there are no labels, one is no class, or the outputs are not one number for each of two or
                more classes.
        """
        if self.labels is None:
            raise ValueError(NO_LABELS)
        check_classes(self.outputs.shape[2:])
        return is_correct(self.outputs, self.labels[:, None])

    def multiplies(self, path: Connection) -> bool:
        """Whether this connection multiplies: weights on a non-spiking input, or on potentials."""
        return path.source not in self.spikes and not path.is_pooling()

    def check_counted(self) -> None:
        """Rejects a run without operations.

        Raises:
            ValueError: if they cannot be counted.
        """
        if self.uncounted:
            raise ValueError(self.uncounted)

    def so_far(self) -> dict[str, np.ndarray]:
        """`spikes` (without the input) of each sample up to each step, (N, T); `accumulates` and `macs` if counted."""
        none = np.zeros((self.samples, self.num_steps))  # float64, for sums over many samples
        found = {"spikes": [none, *(spikes for name, spikes in self.spikes.items() if name != INPUT)]}
        if not self.uncounted:
            found |= {"accumulates": [none], "macs": [none]}
            for path in self.connections:
                found["macs" if self.multiplies(path) else "accumulates"].append(self.operations[path.name])
            for kind, number in self.before._asdict().items():
                found[kind].append(np.where(np.arange(self.num_steps) == 0, number, none))  # in the first step
        return {name: np.sum(parts, 0).cumsum(1) for name, parts in found.items()}


def run(model: keras.Model, data: Any, labels: Any = None, batch_size: int = 50, verbose: int = 1) -> Run:
    """Runs a spiking network once over `data` and counts spikes and operations, step by step.

    Neurons start at rest for each sample, those of a stateful layer too.

    Args:
        model: a built functional or sequential model that ends in its one `SpikingRNN`. The random stream of its
            encoder is restored: repeated calls return the same.
        data: inputs of the model as an array, (N, ...); or a `tf.data.Dataset`, `keras.utils.PyDataset` or
            `datasets.Batches` of batches, of inputs or of `(inputs, labels)`. Of `Batches`, the first epoch: with its
            augmentation, and without what is left over from whole batches. Several inputs, such as a series and its
            mask, come in batches.
        labels: class indices (N,), or one-hot (N, classes); None if `data` has them, or not needed.
        batch_size: samples at a time, for an array.
        verbose: 1 shows a progress bar.

    Raises:
        TypeError: if the model has no `SpikingRNN`, is neither functional nor sequential, or has a `call` of its own;
            or if `data` has another type.
        ValueError: if it is not built, does not end in that layer, or runs backwards; if it has no spiking neurons, two
            cells of one name, joins that cannot be followed, or max pooling of values that are not spikes; if `data` is
            empty, endless, not in batches or of several numbers of time steps, or `labels` does not fit.

    Example:
        >>> model = models.spiking_vgg((8, 8, 1), 3, [(4, 3), "pool"], [16], num_steps=10, seed=0)
        >>> images = np.random.default_rng(0).uniform(0, 1, (6, 8, 8, 1)).astype("float32")
        >>> done = analysis.run(model, images, verbose=0)
        >>> done.outputs.shape, done.spikes["conv1"].shape, done.neurons["fc1"]
        ((6, 10, 3), (6, 10), 16)
    """
    return _run(model, data, labels, batch_size, verbose, labelled=True, counted=False, classified=False)


def _run(
    model: keras.Model,
    data: Any,
    labels: Any,
    batch_size: int,
    verbose: int,
    labelled: bool,
    counted: bool,
    classified: bool,
) -> Run:
    """The same; the last arguments as in `as_run`."""
    planned, front = plan(model, counted), input_over_time(model)
    layer, classes = planned.layer, None
    if classified:
        check_classes(layer.cell.output_shape_of_step)
        (classes,) = layer.cell.output_shape_of_step
    batches, number = batches_of(data, labels, check_positive_int("batch_size", batch_size), labelled, classes)
    encoded = any(isinstance(part, Encoder) for part in front._flatten_layers())
    encode = functools.partial(encoded_by, front)  # eagerly: in a graph Keras loses the masks of some layers
    if encoded:  # which eagerly would run image by image
        encode = tf.function(encode, reduce_retracing=True)
    count = counter(layer, planned.paths, planned.fans)
    neurons = {n.name: math.prod(n.output_shape_of_step) for n in layer.cell.neurons() if n.emits == "spikes"}

    counts: list[dict[str, Any]] = []
    targets: list[np.ndarray] = []
    most: dict[str, Any] = dict.fromkeys(neurons, 0)
    bar = keras.utils.Progbar(number, verbose=verbose)
    with stream_restored(front):
        for i, (inputs, of_batch) in enumerate(batches, start=1):
            tensors = [value for value in encode(as_inputs("data", model, inputs)) if value is not None]
            any_size = [tf.TensorSpec((None, None, *x.shape[2:]), x.dtype) for x in tensors]  # the last may be smaller
            batch = keras.tree.map_structure(np.asarray, count.get_concrete_function(*any_size)(*tensors))
            totals = batch.pop("totals")
            counts.append(batch)
            if batch["steps"].shape[1] != counts[0]["steps"].shape[1]:
                raise ValueError(
                    "`data` must have the same number of time steps in all batches. Received: batches of "
                    f"{counts[0]['steps'].shape[1]} and of {batch['steps'].shape[1]} steps. Run those of each length "
                    "by themselves"
                )
            if of_batch is not None:
                targets.append(of_batch)
            many = SATURATED_RATE * batch["steps"][:, -1:]
            batch["saturated"] = np.stack([(totals[name].reshape(len(many), -1) > many).mean(1) for name in neurons], 1)
            most = {name: np.maximum(most[name], totals[name].max(0)) for name in neurons}
            planned.check_max_pooling(bool(batch["is_spikes"].all()))
            bar.update(i)
    if not counts:
        raise ValueError("`data` must hold at least one sample. Received: no sample")
    if number is None:
        bar.update(i, finalize=True)

    whole = {name: np.concatenate([batch[name] for batch in counts]) for name in counts[0]}
    spiking_input = bool(whole["is_spikes"].all())
    sizes = {INPUT: math.prod(front.outputs[0].shape[2:]), **neurons} if spiking_input else neurons
    return Run(
        outputs=whole["outputs"],
        steps=whole["steps"],
        labels=np.concatenate(targets) if targets else None,
        neurons=sizes,
        spikes={name: whole["spikes"][:, :, i] for i, name in enumerate([INPUT, *neurons]) if name in sizes},
        silent={name: float((of_layer == 0).mean()) for name, of_layer in most.items()},
        saturated=dict(zip(neurons, whole["saturated"].mean(0).tolist(), strict=True)),
        connections=planned.paths,
        synapses=tuple(round(fan.sum()) for fan in planned.fans),
        operations={
            path.name: whole["operations"][:, :, i] for i, path in enumerate(planned.paths if planned.fans else ())
        },
        spiking_input=spiking_input,
        updates=sum(
            math.prod(shape)
            for neuron in layer.cell.neurons()
            if neuron.carries_state
            for entry, shape in neuron.carried_shapes.items()
            if entry != "fed_back"  # kept, not computed
        ),
        before=planned.before,
        encoded=encoded,
        uncounted=planned.uncounted,
    )


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

    `labelled` says whether the targets in `data` are labels, and of interest; `counted` whether operations are needed;
    `classified` whether labels are, which are then checked batch by batch.
    """
    if isinstance(model, Run):
        if counted:
            model.check_counted()
        if data is not None:
            raise ValueError("`data` must be None where a Run is given, which has seen its data already")
        return model if labels is None else dataclasses.replace(model, labels=checked_labels(labels, model.samples))
    return _run(model, data, labels, batch_size, verbose, labelled, counted, classified)
