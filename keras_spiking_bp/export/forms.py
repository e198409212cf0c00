"""A model split for export, and the forms of it: named tensors in, named tensors out, no Python left."""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf

from keras_spiking_bp.cells import Cell
from keras_spiking_bp.cells.base import State
from keras_spiking_bp.rnn.layer import SpikingRNN
from keras_spiking_bp.rnn.spiking_model import call_in, output_layer, sequences_of
from keras_spiking_bp.rnn.weights import weights_prepared


class Network:
    """The parts of a built functional or sequential model that ends in its one `SpikingRNN`.

    `layer` runs its cell over any number of steps, of inputs of `step_shape`, from rest at each call; `num_steps` is T
    of the model, or None if it is free. `front` leads from `images`, its input, to the inputs of all steps, None if it
    starts with those.
    """

    def __init__(self, model: keras.Model):
        layer, sequences = output_layer(model), sequences_of(model)
        if len(model.inputs) != 1:
            raise ValueError(f"`model` must have one input. Received: {len(model.inputs)}")
        output = call_in(model, layer).output_tensors[0]
        if model.outputs[0] is not output:
            raise ValueError(
                f"`model` must have the output of its SpikingRNN layer {layer.name!r} as its first one: no states are "
                "exported. Received: a model with a state as its first output"
            )
        self.layer = SpikingRNN(  # not the layer itself: one that is stateful or unrolled fixes the batch or T
            layer.cell,
            gradient=layer.gradient,
            return_sequences=layer.return_sequences,
            go_backwards=layer.go_backwards,
            name="window",
        )
        _, self.num_steps, *step_shape = sequences.shape
        self.step_shape = tuple(step_shape)
        self.variables = model.variables
        self.images = model.inputs[0]
        self.front: Any = None if self.images is sequences else keras.Model(self.images, sequences)

    def parts(self, with_front: bool = False) -> list[keras.layers.Layer]:
        """All layers of a step, and `with_front` those before time."""
        front = [] if self.front is None or not with_front else self.front._flatten_layers()
        return [*front, *self.layer._flatten_layers()]


def not_in_float32(layers: list[keras.layers.Layer]) -> list[keras.layers.Layer]:
    """Those that compute in another precision; layers of integers, such as a `Reshape` of 8-bit images, have none."""
    dtypes = ((layer, layer.compute_dtype) for layer in layers)
    return [layer for layer, dtype in dtypes if dtype not in ("float32", None) and keras.backend.is_float_dtype(dtype)]


def check_float32(layers: list[keras.layers.Layer], file_format: str) -> None:
    """Rejects a precision that the format lacks."""
    if others := not_in_float32(layers):
        raise ValueError(
            f"`model` must compute in float32 for {file_format}. Received: layer {others[0].name!r} of dtype policy "
            f"{others[0].dtype_policy.name!r}. Make the same model with float32 layers, and give it the weights: "
            "new_model.set_weights(model.get_weights())"
        )


def check_forwards(network: Network) -> None:
    """Rejects what no step can compute."""
    if network.layer.go_backwards:
        raise ValueError("`model` must not have go_backwards=True in its SpikingRNN: a step cannot know the last input")


@dataclasses.dataclass(frozen=True)
class Form:
    """A function from tensors, as `inputs` describes them, to a dictionary of tensors: a signature of a file."""

    name: str
    function: Callable[..., dict[str, tf.Tensor]]
    inputs: list[tf.TensorSpec]


def spikes_form(network: Network, batch_size: int | None = None, num_steps: int | None = None) -> Form:
    """The window from `spikes` (B, T, ...) float32 to `outputs` of the model."""
    spikes = tf.TensorSpec((batch_size, num_steps, *network.step_shape), tf.float32, "spikes")
    return Form("spikes", lambda x: {"outputs": network.layer(x)}, [spikes])


def images_form(network: Network, batch_size: int | None = None) -> Form:
    """The window from `images`, with the spikes drawn inside, to `outputs`."""
    outputs = lambda x: {"outputs": network.layer(network.front(x, training=False))}  # noqa: E731
    return Form("images", outputs, [_images(network, batch_size)])


def step_form(network: Network, batch_size: int | None = None) -> Form:
    """One time step, as `export_saved_model` describes it."""
    check_forwards(network)
    cell = network.layer.cell
    neurons = cell.neurons()
    entries = state_names(cell)

    def step(spikes, *states_in):
        given = dict(zip(entries, states_in, strict=True))
        before: list[State] = [{} for _ in neurons]
        for name, (i, entry) in entries.items():
            before[i][entry] = _shifted(given[name], entry, neurons[i].starting_potential)
        # as the window casts them: normalisation folded first. In float32 both agree, and folding costs time
        with weights_prepared(cell) if not_in_float32(network.parts()) else contextlib.nullcontext():
            outputs, after = cell.run(spikes, before)
        states = {
            name: _shifted(after[i][entry], entry, -neurons[i].starting_potential)
            for name, (i, entry) in entries.items()
        }
        return {"outputs": tf.cast(outputs, tf.float32), **states}

    shapes = {"spikes": network.step_shape}
    shapes |= {name: neurons[i].carried_shapes[entry] for name, (i, entry) in entries.items()}
    return Form("step", step, [tf.TensorSpec((batch_size, *shape), tf.float32, name) for name, shape in shapes.items()])


def state_names(cell: Cell) -> dict[str, tuple[int, str]]:
    """The states of a step: for each name, as of `export_saved_model`, the index of the neurons and the entry."""
    return _each_once(
        (f"{entry}_{_as_word(neuron.name)}", (i, entry))
        for i, neuron in enumerate(cell.neurons())
        for entry in (neuron.carried_shapes if neuron.carries_state else ())
    )


def _as_word(name: str) -> str:
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def _each_once(named: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in named:
        if name.lower() in (other.lower() for other in found):  # TensorFlow ignores case
            raise ValueError(
                "The cells of `model` must have names that differ in letters and digits, in more than their case. "
                f"This stands for more than one: {name!r}"
            )
        found[name] = value
    return found


def _shifted(state: tf.Tensor, entry: str, by: Any) -> tf.Tensor:
    none = isinstance(by, float) and by == 0
    return state if none or entry != "membrane" else state + by


def _images(network: Network, batch_size: int | None) -> tf.TensorSpec:
    return tf.TensorSpec((batch_size, *network.images.shape[1:]), network.images.dtype, "images")
