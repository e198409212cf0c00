"""What all networks of the paper are made of: cells with the settings of one network, and the model around them."""

import inspect
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import keras

from keras_spiking_bp.cells import Cell, LIFCell, MaxPoolingCell, PoolingCell, ReadoutCell
from keras_spiking_bp.encoders import ConstantEncoder, PoissonEncoder
from keras_spiking_bp.encoders.base import Encoder
from keras_spiking_bp.gradients import surrogates
from keras_spiking_bp.rnn.layer import SpikingRNN
from keras_spiking_bp.utils.validation import (
    check_choice,
    check_positive_int,
    check_seed,
)

#: Height, width and channels of an image.
Shape: TypeAlias = tuple[int, int, int]
#: Pooling between the stages of a network.
POOLINGS = ("neuron", "average", "max")
#: Normalisation between a convolution or a fully connected layer and its neurons.
NORMALIZATIONS = (None, "batch")

_OF_LIF = set(inspect.signature(LIFCell).parameters) - {"synapse", "seed", "kwargs"} | {"activity_regularizer"}
_OF_POOLING_NEURONS = {"reset_mechanism", "surrogate", "initial_membrane", "signed"}

#: The settings of a network, as in the paper; `PRESETS` and arguments override them.
_SETTINGS: dict[str, Any] = {
    "gradient": "accumulated",
    "encoder": "poisson",
    "normalization": None,
    "pooling": "neuron",
    "pool_threshold": 0.75,
    "kappa": None,
    "readout_beta": None,
    "dtype": None,
}
#: What `preset` stands for: the settings of `spiking_vgg`, and the time steps of an encoder.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {"num_steps": 100},
    "deep": {
        "num_steps": 4,
        "encoder": "constant",
        "normalization": "batch",
        "pooling": "average",
        "threshold": 2.0,
        "reset_mechanism": "subtract",
        "initial_membrane": 0.5,
        "surrogate": "bounded",
    },
}


class Parts:
    """Makes the layers and cells of one network; successive ones get successive seeds."""

    def __init__(self, preset: str, kappa: float, seed: int | None, settings: dict[str, Any]):
        if unknown := sorted(set(settings) - set(_SETTINGS) - _OF_LIF):
            raise TypeError(
                f"This network has no arguments {unknown}. Besides those of its signature it takes "
                f"{sorted(_SETTINGS)}, its neurons {sorted(_OF_LIF)}"
            )
        chosen = {**_SETTINGS, "kappa": kappa, **PRESETS[check_choice("preset", preset, tuple(PRESETS))], **settings}
        self.num_steps = chosen.pop("num_steps")
        self.gradient, self.encoder, self.dtype = (chosen.pop(name) for name in ("gradient", "encoder", "dtype"))
        self.kappa = chosen.pop("kappa")
        self.pooling = check_choice("pooling", chosen.pop("pooling"), POOLINGS)
        self.pool_threshold = chosen.pop("pool_threshold")
        self.normalization = check_choice("normalization", chosen.pop("normalization"), NORMALIZATIONS)
        readout_beta = chosen.pop("readout_beta")
        self.neuron = chosen
        bptt = self.gradient == "bptt"
        if bptt and chosen.get("surrogate") == "bounded" and "surrogate" not in settings:
            chosen["surrogate"] = surrogates.Triangle().scaled(chosen["threshold"])
        # the paper's derivative ignores the leak of the readout; libraries that train by surrogates include it
        self._readout = {"differentiate_leak": bptt and chosen.get("surrogate") is not None}
        if readout_beta is not None:
            self._readout["beta"] = readout_beta
        elif "beta" in chosen:
            self._readout["beta"] = chosen["beta"]
        self.seed = seed = check_seed(seed)
        self._weight_seeds = _seeds(None if seed is None else 1000 * seed)
        self._dropout_seeds = _seeds(None if seed is None else seed + 1)

    def model(self, cell: Cell, input_shape: tuple[int, ...], num_steps: int | None, name: str) -> keras.Model:
        """The network whose time step is `cell`."""
        if num_steps is None and isinstance(self.encoder, str):
            num_steps = self.num_steps
        return assemble(cell, input_shape, num_steps, self.encoder, self.gradient, self.seed, name)

    def convolution(self, filters: int, kernel_size: int, strides: int = 1, *, std: float = 1.0) -> keras.layers.Layer:
        """A convolution with symmetric padding; `std` is the initial deviation of its current, if it is normalised."""
        padded_by_keras = strides == 1 or kernel_size == 1  # "same" with strides pads right and bottom only
        padding = "same" if padded_by_keras else "valid"
        how = {"padding": padding, "use_bias": False, "kernel_initializer": self._initializer(), **self._of_images}
        layer = keras.layers.Conv2D(filters, kernel_size, strides, **how)
        before = [] if padded_by_keras else [keras.layers.ZeroPadding2D((kernel_size - 1) // 2, **self._of_images)]
        return self._normalized([*before, layer], std)

    def subsampled(self, strides: int, name: str | None = None) -> keras.layers.Layer:
        """Every so many pixels, as they are."""
        return keras.layers.AveragePooling2D(1, strides=strides, name=name, **self._of_images)

    @property
    def _of_images(self) -> dict[str, Any]:
        """Whatever Keras' configuration says: shapes are (height, width, channels)."""
        return {"data_format": "channels_last", "dtype": self.dtype}

    def dense(self, units: int) -> keras.layers.Layer:
        return self._normalized([self._dense(units)])

    def lif(self, synapse: keras.layers.Layer, name: str, **settings: Any) -> LIFCell:
        return LIFCell(synapse, seed=next(self._dropout_seeds), name=name, **{**self.neuron, **settings})

    def pool(self, name: str) -> keras.layers.Layer:
        """2x2 pooling."""
        if self.pooling == "max":
            return MaxPoolingCell(keras.layers.MaxPooling2D(2, **self._of_images), name=name)
        if self.pooling == "average":
            return keras.layers.AveragePooling2D(2, name=name, **self._of_images)
        pooling = keras.layers.AveragePooling2D(2, **self._of_images)
        neuron = {key: value for key, value in self.neuron.items() if key in _OF_POOLING_NEURONS}
        return PoolingCell(pooling, threshold=self.pool_threshold, name=name, **neuron)

    def head(self, dense_units: Sequence[int], classes: int) -> list[keras.layers.Layer]:
        """Flatten, fully connected LIF layers, and the readout."""
        cells: list[keras.layers.Layer] = [keras.layers.Flatten("channels_last", name="flatten")]
        cells += [self.lif(self.dense(units), f"fc{i}") for i, units in enumerate(dense_units, start=1)]
        return [*cells, ReadoutCell(self._dense(classes), name="readout", **self._readout)]

    def _dense(self, units: int) -> keras.layers.Dense:
        return keras.layers.Dense(units, use_bias=False, kernel_initializer=self._initializer(), dtype=self.dtype)

    def _normalized(self, layers: list[keras.layers.Layer], std: float = 1.0) -> keras.layers.Layer:
        """One synapse of all these layers, with the normalisation after them."""
        if self.normalization == "batch":
            gamma = keras.initializers.Constant(std)
            layers.append(keras.layers.BatchNormalization(momentum=0.9, gamma_initializer=gamma, dtype=self.dtype))
        return layers[0] if len(layers) == 1 else keras.Sequential(layers)

    def _initializer(self) -> keras.initializers.Initializer:
        return keras.initializers.VarianceScaling(
            self.kappa, mode="fan_in", distribution="untruncated_normal", seed=next(self._weight_seeds)
        )


def _seeds(first: int | None) -> Iterator[int | None]:
    """Successive seeds of 64 bits."""
    if first is None:
        return itertools.repeat(None)
    return itertools.count(first if abs(first) < 2**62 else first % (3 * 2**60 + 1))


def assemble(
    cell: Cell,
    input_shape: tuple[int, ...],
    num_steps: int | None,
    encoder: keras.layers.Layer | str | None,
    gradient: str,
    seed: int | None,
    name: str,
    front: Sequence[keras.layers.Layer] = (),
) -> keras.Model:
    """The model from images, through `front` and the encoder, or from spikes if it is None, to the output of `cell`."""
    num_steps = checked_num_steps(num_steps, encoder)
    if isinstance(encoder, str) and check_choice("encoder", encoder, ("poisson", "constant")):
        steps = check_positive_int("num_steps", num_steps)
        encoder = PoissonEncoder(steps, seed=seed) if encoder == "poisson" else ConstantEncoder(steps)
    if encoder is None:
        inputs = spikes = keras.Input((num_steps, *input_shape), name="spikes")
    elif isinstance(encoder, Encoder):
        inputs = keras.Input(input_shape, name="images")
        images = inputs
        for layer in front:
            images = layer(images)
        spikes = encoder(images)
    else:
        raise TypeError(
            "`encoder` must be 'poisson', 'constant', an encoder such as PoissonEncoder(num_steps=50), or None for "
            f"spikes as input. Received: encoder={encoder!r}"
        )
    outputs = SpikingRNN(cell, gradient=gradient, name="time")(spikes)
    return keras.Model(inputs, outputs, name=name)


def checked_num_steps(num_steps: int | None, encoder: Any) -> int | None:
    """`num_steps`, an integer of at least 1 or None, if no encoder contradicts it."""
    if num_steps is None:
        return None
    if isinstance(encoder, Encoder) and num_steps != encoder.num_steps:
        raise ValueError(
            f"`num_steps` contradicts the encoder: num_steps={num_steps}, encoder.num_steps={encoder.num_steps}. "
            "Give it to the encoder only"
        )
    return check_positive_int("num_steps", num_steps)
