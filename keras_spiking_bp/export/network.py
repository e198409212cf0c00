"""A model split for export: the part before the time loop, and the layer that runs in time."""

from typing import Any

import keras

from keras_spiking_bp.encoders import PoissonEncoder
from keras_spiking_bp.rnn.layer import SpikingRNN
from keras_spiking_bp.rnn.spiking_model import call_in, encoder_of, output_layer, sequences_of


class Network:
    """The parts of a built functional or sequential model that ends in its one `SpikingRNN`.

    `layer` runs its cell over any number of steps, of inputs of `step_shape`, from rest at each call; `num_steps` is T
    of the model, or None if it is free. `front` leads from `images`, its input, to the inputs of all steps, None if it
    starts with those; `before_encoder` to `encoder`, the `PoissonEncoder` right before time, both None without one.
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
        encoder, encoded = encoder_of(model)  # one with a `call` of the user's may do something else with a seed
        is_poisson = isinstance(encoder, PoissonEncoder) and type(encoder).call is PoissonEncoder.call
        self.encoder: Any = encoder if is_poisson else None
        self.before_encoder: Any = keras.Model(self.images, encoded) if is_poisson else None

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
