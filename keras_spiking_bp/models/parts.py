"""The cells that all networks of the paper are made of, with the settings of one network."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import keras

from keras_spiking_bp.cells import IFCell, LIFCell, ReadoutCell
from keras_spiking_bp.validation import check_positive, check_positive_int, check_positive_ints, check_seed


class Parts:
    """Makes the layers and cells of one network; successive ones get successive seeds.

    Weights start normal with standard deviation `sqrt(kappa / fan_in)`; there are no biases (arXiv 1903.06379).
    """

    def __init__(
        self,
        *,
        beta: float,
        threshold: float,
        dropout: float,
        policy: str | None,
        kappa: float,
        pool_threshold: float,
        reset_mechanism: str,
        kernel_constraint: keras.constraints.Constraint | str | None,
        activity_regularizer: keras.regularizers.Regularizer | str | None,
        seed: int | None,
    ):
        self.beta = beta
        self.kappa = check_positive("kappa", kappa)
        self.policy = policy
        self.pool_threshold = check_positive("pool_threshold", pool_threshold)
        self.reset_mechanism = reset_mechanism
        self.kernel_constraint = kernel_constraint
        self._neuron = {
            "beta": beta,
            "threshold": threshold,
            "dropout": dropout,
            "reset_mechanism": reset_mechanism,
            "activity_regularizer": activity_regularizer,
        }
        seed = check_seed(seed)
        self._weight_seeds = _seeds(None if seed is None else 1000 * seed)
        self._dropout_seeds = _seeds(None if seed is None else seed + 1)

    def convolution(self, filters: int, kernel_size: int, strides: int = 1) -> keras.layers.Layer:
        """A convolution that keeps the size, or divides it by `strides`, with symmetric padding."""
        padded_by_keras = strides == 1 or kernel_size == 1  # "same" with strides pads right and bottom only
        layer = keras.layers.Conv2D(
            filters,
            kernel_size,
            strides=strides,
            padding="same" if padded_by_keras else "valid",
            use_bias=False,
            kernel_initializer=self._initializer(),
            kernel_constraint=self.kernel_constraint,
            dtype=self.policy,
        )
        if padded_by_keras:
            return layer
        return keras.Sequential([keras.layers.ZeroPadding2D(kernel_size // 2, dtype=self.policy), layer])

    def dense(self, units: int) -> keras.layers.Layer:
        """A fully connected layer."""
        return keras.layers.Dense(
            units,
            use_bias=False,
            kernel_initializer=self._initializer(),
            kernel_constraint=self.kernel_constraint,
            dtype=self.policy,
        )

    def lif(self, synapse: keras.layers.Layer, name: str) -> LIFCell:
        """LIF neurons behind a synapse."""
        return LIFCell(synapse, seed=next(self._dropout_seeds), name=name, **self._neuron)

    def pool(self, name: str) -> IFCell:
        """2x2 average pooling with pooling neurons."""
        pooling = keras.layers.AveragePooling2D(2, dtype=self.policy)
        return IFCell(pooling, threshold=self.pool_threshold, reset_mechanism=self.reset_mechanism, name=name)

    def head(self, dense_units: Sequence[int], classes: int) -> list[keras.layers.Layer]:
        """Flatten, fully connected LIF layers, and the readout."""
        check_positive_int("classes", classes)
        dense_units = check_positive_ints("dense_units", dense_units)
        cells: list[keras.layers.Layer] = [keras.layers.Flatten(name="flatten")]
        cells += [self.lif(self.dense(units), f"fc{i}") for i, units in enumerate(dense_units, start=1)]
        return [*cells, ReadoutCell(self.dense(classes), beta=self.beta, name="readout")]

    def _initializer(self) -> keras.initializers.Initializer:
        return keras.initializers.VarianceScaling(
            self.kappa, mode="fan_in", distribution="untruncated_normal", seed=next(self._weight_seeds)
        )


def _seeds(first: int | None) -> Iterator[int | None]:
    return itertools.repeat(None) if first is None else itertools.count(first)
