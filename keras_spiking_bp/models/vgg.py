"""Plain convolutional spiking networks: convolutions, pooling neurons, fully connected layers, a readout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_spiking_bp.cells import IFCell, LIFCell, ReadoutCell, SequentialCell
from keras_spiking_bp.models.assemble import assemble, initializer
from keras_spiking_bp.validation import check_positive_int


def spiking_vgg(
    input_shape: tuple[int, int, int],
    classes: int,
    stages: Sequence[tuple[int, int] | str],
    dense_units: Sequence[int],
    num_steps: int | None = None,
    beta: float = 0.99,
    threshold: float = 1.0,
    dropout: float = 0.0,
    gradient: str = "accumulated",
    encoder: keras.layers.Layer | str | None = "poisson",
    policy: str | None = None,
    kappa: float = 2.0,
    pool_threshold: float = 0.75,
    seed: int | None = None,
    name: str = "spiking_vgg",
) -> keras.Model:
    """A plain convolutional spiking network, from its stages (arXiv 1903.06379; no biases anywhere).

    Args:
        input_shape: shape of one image, (H, W, C).
        classes: number of classes, at least 1.
        stages: in order, `(filters, kernel_size)` for a "same" convolution with LIF neurons, `"pool"` for 2x2 average
            pooling with pooling neurons.
        dense_units: sizes of the fully connected LIF layers between the stages and the readout.
        num_steps: time steps T of the default encoder (100 if None); with `encoder=None` the length of the input, or
            None for any length.
        beta, threshold, dropout: of all LIF neurons (`LIFCell`).
        gradient: `"accumulated"` or `"bptt"` (`SpikingRNN`).
        encoder: `"poisson"`, an encoder layer (it then sets the number of steps), or None if the input is spikes
            (T, H, W, C) already.
        policy: dtype policy of the synapses, such as `"mixed_bfloat16"`; None for Keras' global one.
        kappa: weights start normal with standard deviation `sqrt(kappa / fan_in)`.
        pool_threshold: threshold of the pooling neurons.
        seed: integer that fixes weights, dropout and input spikes, or None.
        name: name of the model.

    Returns:
        A `keras.Model` from images (B, H, W, C) to `V[T] / T`, (B, classes) float32.

    Raises:
        ValueError: if an argument is out of range, or `num_steps` contradicts the encoder.
        TypeError: if `encoder` is neither of the above.

    Example:
        >>> model = spiking_vgg((8, 8, 1), 3, stages=[(4, 3), "pool"], dense_units=[16], num_steps=10)
        >>> model.predict(np.zeros((2, 8, 8, 1), "float32"), verbose=0).shape
        (2, 3)
    """
    check_positive_int("classes", classes)
    for stage in stages:
        if stage != "pool" and (isinstance(stage, str) or len(stage) != 2):
            raise ValueError(f"`stages` must hold (filters, kernel_size) or 'pool'. Received: {stage!r}")
    start = initializer(kappa, seed)
    neuron = {"beta": beta, "threshold": threshold, "dropout": dropout}
    seeds = iter(range(1, len(stages) + len(dense_units) + 1))

    def next_seed() -> int | None:
        return None if seed is None else seed + next(seeds)

    cells: list[keras.layers.Layer] = []
    convolutions = pools = 0
    for stage in stages:
        if stage == "pool":
            pools += 1
            pooling = keras.layers.AveragePooling2D(2, dtype=policy)
            cells.append(IFCell(pooling, threshold=pool_threshold, name=f"pool{pools}"))
            continue
        filters, kernel_size = stage
        convolutions += 1
        convolution = keras.layers.Conv2D(
            filters, kernel_size, padding="same", use_bias=False, kernel_initializer=start(), dtype=policy
        )
        cells.append(LIFCell(convolution, seed=next_seed(), name=f"conv{convolutions}", **neuron))
    cells.append(keras.layers.Flatten(name="flatten"))
    for i, units in enumerate(dense_units, start=1):
        dense = keras.layers.Dense(units, use_bias=False, kernel_initializer=start(), dtype=policy)
        cells.append(LIFCell(dense, seed=next_seed(), name=f"fc{i}", **neuron))
    last = keras.layers.Dense(classes, use_bias=False, kernel_initializer=start(), dtype=policy)
    cells.append(ReadoutCell(last, beta=beta, name="readout"))
    return assemble(SequentialCell(cells, name="network"), input_shape, num_steps, encoder, gradient, seed, name)


def spiking_lenet(
    input_shape: tuple[int, int, int] = (28, 28, 1),
    classes: int = 10,
    num_steps: int | None = None,
    beta: float = 0.99,
    threshold: float = 1.0,
    dropout: float = 0.0,
    gradient: str = "accumulated",
    name: str = "spiking_lenet",
    **kwargs: Any,
) -> keras.Model:
    """The paper's spiking LeNet: 5x5x20 - pool - 5x5x50 - pool - 200 - classes (517,500 weights on 28x28x1).

    Args:
        input_shape, classes, num_steps, beta, threshold, dropout, gradient, name: as in `spiking_vgg`.
        **kwargs: the other arguments of `spiking_vgg` (`encoder`, `policy`, `kappa`, ...).

    Returns, raises: as `spiking_vgg`.

    Example:
        >>> spiking_lenet(num_steps=50).count_params()
        517500
    """
    return spiking_vgg(
        input_shape,
        classes,
        stages=[(20, 5), "pool", (50, 5), "pool"],
        dense_units=[200],
        num_steps=num_steps,
        beta=beta,
        threshold=threshold,
        dropout=dropout,
        gradient=gradient,
        name=name,
        **kwargs,
    )
