"""The cells that all networks of the paper are made of, with the settings of one network."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from keras_spiking_bp.cells import IFCell, LIFCell, MaxPoolingCell, ReadoutCell
from keras_spiking_bp.utils.validation import (
    check_beta,
    check_choice,
    check_positive,
    check_positive_int,
    check_positive_ints,
    check_seed,
)

#: Pooling between the stages of a network.
POOLINGS = ("neuron", "average", "max")
#: Normalisation between a convolution or a fully connected layer and its neurons.
NORMALIZATIONS = (None, "batch")

_OF_LIF = set(inspect.signature(LIFCell).parameters) - {"synapse", "seed", "kwargs"} | {"activity_regularizer"}
_OF_POOLING_NEURONS = {"reset_mechanism", "surrogate", "initial_membrane"}


class Parts:
    """Makes the layers and cells of one network; successive ones get successive seeds.

    Initial weights are normal with standard deviation `sqrt(kappa / fan_in)`; no biases (arXiv 1903.06379). `neuron`
    holds the arguments of all LIF cells. The derivative of the readout ignores its leak, as the paper's; with a
    surrogate and `gradient="bptt"` it includes it, as in the libraries that train so.
    """

    def __init__(
        self,
        *,
        gradient: str,
        policy: str | None,
        kappa: float,
        pooling: str,
        pool_threshold: float,
        normalization: str | None,
        readout_beta: float | None,
        seed: int | None,
        neuron: dict[str, Any],
    ):
        unknown = sorted(set(neuron) - _OF_LIF)
        if unknown:
            raise TypeError(
                f"The arguments {unknown} are none of this network, nor of its neurons, which take {sorted(_OF_LIF)}"
            )
        self.policy = policy
        self.kappa = check_positive("kappa", kappa)
        self.pooling = check_choice("pooling", pooling, POOLINGS)
        self.pool_threshold = check_positive("pool_threshold", pool_threshold)
        self.normalization = check_choice("normalization", normalization, NORMALIZATIONS)
        self.neuron = neuron
        self._readout: dict[str, Any] = {
            "differentiate_leak": gradient == "bptt" and neuron.get("surrogate") is not None,
        }
        if readout_beta is not None:
            self._readout["beta"] = check_beta("readout_beta", readout_beta)
        elif "beta" in neuron:
            self._readout["beta"] = neuron["beta"]
        seed = check_seed(seed)
        self._weight_seeds = _seeds(None if seed is None else 1000 * seed)
        self._dropout_seeds = _seeds(None if seed is None else seed + 1)

    def convolution(self, filters: int, kernel_size: int, strides: int = 1, *, std: float = 1.0) -> keras.layers.Layer:
        """A convolution that keeps the size, or divides it by `strides`, with symmetric padding.

        `std` is the initial standard deviation of its current, if it is normalised.
        """
        padded_by_keras = strides == 1 or kernel_size == 1  # "same" with strides pads right and bottom only
        layer = keras.layers.Conv2D(
            filters,
            kernel_size,
            strides=strides,
            padding="same" if padded_by_keras else "valid",
            use_bias=False,
            kernel_initializer=self._initializer(),
            **self._of_images,
        )
        before = [] if padded_by_keras else [keras.layers.ZeroPadding2D(kernel_size // 2, **self._of_images)]
        return self._normalized([*before, layer], std)

    def subsampled(self, strides: int | tuple[int, int], name: str | None = None) -> keras.layers.Layer:
        """The identity on every so many pixels."""
        return keras.layers.AveragePooling2D(1, strides=strides, name=name, **self._of_images)

    @property
    def _of_images(self) -> dict[str, Any]:
        """Whatever Keras' configuration says: shapes are (height, width, channels)."""
        return {"data_format": "channels_last", "dtype": self.policy}

    def dense(self, units: int) -> keras.layers.Layer:
        """A fully connected layer."""
        return self._normalized([self._dense(units)])

    def lif(self, synapse: keras.layers.Layer, name: str) -> LIFCell:
        """LIF neurons with a synapse."""
        return LIFCell(synapse, seed=next(self._dropout_seeds), name=name, **self.neuron)

    def pool(self, name: str) -> keras.layers.Layer:
        """2x2 pooling."""
        if self.pooling == "max":
            return MaxPoolingCell(keras.layers.MaxPooling2D(2, **self._of_images), of="spikes", name=name)
        if self.pooling == "average":
            return keras.layers.AveragePooling2D(2, name=name, **self._of_images)
        neuron = {key: value for key, value in self.neuron.items() if key in _OF_POOLING_NEURONS}
        pooling = keras.layers.AveragePooling2D(2, **self._of_images)
        return IFCell(pooling, threshold=self.pool_threshold, name=name, **neuron)

    def head(self, dense_units: Sequence[int], classes: int) -> list[keras.layers.Layer]:
        """Flatten, fully connected LIF layers, and the readout."""
        check_positive_int("classes", classes)
        dense_units = check_positive_ints("dense_units", dense_units)
        cells: list[keras.layers.Layer] = [keras.layers.Flatten("channels_last", name="flatten")]
        cells += [self.lif(self.dense(units), f"fc{i}") for i, units in enumerate(dense_units, start=1)]
        return [*cells, ReadoutCell(self._dense(classes), name="readout", **self._readout)]

    def _dense(self, units: int) -> keras.layers.Dense:
        return keras.layers.Dense(units, use_bias=False, kernel_initializer=self._initializer(), dtype=self.policy)

    def _normalized(self, layers: list[keras.layers.Layer], std: float = 1.0) -> keras.layers.Layer:
        """One synapse of all these layers, with the normalisation after them."""
        if self.normalization == "batch":
            gamma = keras.initializers.Constant(std)
            layers.append(keras.layers.BatchNormalization(momentum=0.9, gamma_initializer=gamma, dtype=self.policy))
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
