"""The forms in which a network is exported: named tensors in, named tensors out, nothing of Python left."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import tensorflow as tf

from keras_spiking_bp.cells import Cell
from keras_spiking_bp.export.network import Network


@dataclasses.dataclass(frozen=True)
class Form:
    """A function of tensors that becomes a signature of a file.

    Attributes:
        name: name of the signature.
        function: from tensors in the order of `inputs` to a dictionary of tensors.
        inputs: names, shapes and dtypes of the inputs.
    """

    name: str
    function: Callable[..., dict[str, tf.Tensor]]
    inputs: list[tf.TensorSpec]

    def traced(self) -> tf.types.experimental.ConcreteFunction:
        """The graph of the function."""
        return tf.function(self.function, autograph=False).get_concrete_function(*self.inputs)


def spikes_form(network: Network, batch_size: int | None = None, num_steps: int | None = None) -> Form:
    """The window from `spikes` (B, T, ...) float32 to `outputs`, as the model gives them."""
    spikes = tf.TensorSpec((batch_size, num_steps, *network.step_shape), tf.float32, "spikes")
    return Form("spikes", lambda x: {"outputs": network.layer(x)}, [spikes])


def images_form(network: Network, batch_size: int | None = None) -> Form:
    """The window from `images`, with the spikes drawn inside, to `outputs`."""
    return Form("images", lambda x: {"outputs": network.layer(network.front(x))}, [_images(network, batch_size)])


def images_with_seed_form(network: Network) -> Form:
    """As `images_form`, with the spikes that `seed`, an integer pair, draws (`PoissonEncoder.encode`)."""

    def outputs(images, seed):
        spikes = network.encoder.encode(network.before_encoder(images), seed)
        return {"outputs": network.layer(spikes)}

    seed = tf.TensorSpec((2,), tf.int32, "seed")
    return Form("images_with_seed", outputs, [_images(network, None), seed])


def step_form(network: Network, batch_size: int | None = None) -> Form:
    """One time step, a pure function: `spikes` (B, ...) and all potentials in, `outputs` and new potentials out.

    `outputs` are V[t], not divided, or the spikes of the step. The potentials have the names of `membrane_names` going
    in and coming out; zeros are the state before the first step: of cells with an `initial_membrane`, what goes in and
    out is the difference from it.
    """
    if network.layer.go_backwards:
        raise ValueError("`model` must not have go_backwards=True in its SpikingRNN: a step cannot know the last input")
    cell = network.layer.cell
    names = membrane_names(cell)
    neurons = cell.neurons()
    carrying = [neuron for neuron in neurons if neuron.carries_state]

    def step(spikes, *membranes):
        given = iter(membranes)
        before = [
            {"membrane": _shifted(next(given), neuron.starting_potential)} if neuron.carries_state else {}
            for neuron in neurons
        ]
        outputs, states = cell.step(spikes, before)
        after = [state["membrane"] for state in states if "membrane" in state]
        potentials = {
            name: _shifted(membrane, -neuron.starting_potential)
            for name, neuron, membrane in zip(names, carrying, after, strict=True)
        }
        return {"outputs": tf.cast(outputs, tf.float32), **potentials}

    shapes = {"spikes": network.step_shape}
    shapes |= {name: neuron.state_shape_of_step for name, neuron in zip(names, carrying, strict=True)}
    return Form("step", step, [tf.TensorSpec((batch_size, *shape), tf.float32, name) for name, shape in shapes.items()])


def membrane_names(cell: Cell) -> list[str]:
    """`membrane_<name of the cell>` for each layer of neurons that carries a state, in the order of the walk.

    Raises:
        ValueError: if two cells have the same name.
    """
    names = ["membrane_" + re.sub(r"\W", "_", neuron.name) for neuron in cell.neurons() if neuron.carries_state]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"The cells of `model` must have different names. These stand for more than one: {twice}")
    return names


def _shifted(membrane: tf.Tensor, by: float) -> tf.Tensor:
    return membrane + by if by else membrane


def _images(network: Network, batch_size: int | None) -> tf.TensorSpec:
    return tf.TensorSpec((batch_size, *network.images.shape[1:]), network.images.dtype, "images")
