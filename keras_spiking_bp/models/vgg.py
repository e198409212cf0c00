"""Plain convolutional spiking networks: convolutions, pooling neurons, fully connected layers, a readout."""

import itertools
from collections.abc import Sequence
from typing import Any

import keras

from keras_spiking_bp.cells import SequentialCell
from keras_spiking_bp.models.parts import Parts, Shape
from keras_spiking_bp.utils.validation import check_image_shape, check_positive_ints


def spiking_vgg(
    input_shape: Shape,
    classes: int,
    stages: Sequence[tuple[int, ...] | str],
    dense_units: Sequence[int],
    *,
    preset: str = "deep",
    num_steps: int | None = None,
    seed: int | None = None,
    name: str = "spiking_vgg",
    **settings: Any,
) -> keras.Model:
    """A plain convolutional spiking network, from its stages (arXiv 1903.06379; no biases anywhere).

    Args:
        input_shape: shape of one image, (H, W, C). Divide 8-bit images by 255.
        classes: number of classes, at least 1.
        stages: in order, `(filters, kernel_size)` or `(filters, kernel_size, strides)` for a convolution with LIF
            neurons, padded on all sides, `"pool"` for 2x2 pooling.
        dense_units: sizes of the fully connected LIF layers between the stages and the readout.
        preset: the settings below. `"deep"`, for few time steps: `num_steps=4`, `encoder="constant"`,
            `normalization="batch"`, `pooling="average"`, `threshold=2`, `reset_mechanism="subtract"`,
            `initial_membrane=0.5`, `surrogate="bounded"` (with `gradient="bptt"` a triangle as wide as the threshold).
            `"paper"`: `num_steps=100`, `encoder="poisson"`, `pooling="neuron"`, and neurons as `LIFCell` has them.
        num_steps: time steps T of the encoder; None for those of the preset. With `encoder=None` the length of the
            input, or None for any length.
        seed: integer that fixes weights, dropout and the spikes of the encoder, or None.
        name: of the model.
        **settings: override the preset:

            * `gradient`: `"accumulated"` or `"bptt"` (`SpikingRNN`).
            * `encoder`: `"constant"`, `"poisson"`, an encoder layer (which sets the number of steps), or None if the
              input is already spikes (T, H, W, C).
            * `normalization`: `"batch"` for a `keras.layers.BatchNormalization` between each convolution or fully
              connected layer and its neurons, or None.
            * `pooling`: `"average"` of the spikes, their maximum `"max"`, or `"neuron"` (the paper: the average drives
              a `PoolingCell` of threshold `pool_threshold`, 0.75).
            * `kappa`: initial weights are normal with standard deviation `sqrt(kappa / fan_in)`; 2.
            * `readout_beta`: `beta` of the readout; None for that of the neurons (with `learn_beta`, its first value).
              With a small one, only the last steps count in V[T]; 1 gives the mean of the currents.
            * `dtype`: of the synapses, such as `"mixed_bfloat16"`; None for Keras' global one. With `"mixed_float16"`,
              compile with `keras.optimizers.LossScaleOptimizer(optimizer)`.
            * of all LIF neurons, as in `LIFCell`: `beta`, `threshold`, `dropout`, `reset_mechanism`, `surrogate`,
              `initial_membrane`, `signed` (these four also of pooling neurons), `synaptic_beta`, `learn_beta`,
              `learn_threshold`, `activity_regularizer`. With a `surrogate` and `gradient="bptt"` the derivative of the
              readout includes its leak (`ReadoutCell`).

    Returns:
        A `keras.Model` from images (B, H, W, C) to `V[T] / T`, (B, classes) float32; logits for a cross-entropy.

    Example:
        >>> model = spiking_vgg((8, 8, 1), 3, stages=[(4, 3), "pool"], dense_units=[16])
        >>> model.predict(np.zeros((2, 8, 8, 1), "float32"), verbose=0).shape
        (2, 3)
    """
    for stage in stages:
        if stage != "pool":
            check_positive_ints("stages", stage)
    check_image_shape("input_shape", input_shape, smallest=2 ** sum(stage == "pool" for stage in stages))
    parts = Parts(preset, 2.0, seed, settings)
    cells: list[keras.layers.Layer] = []
    pools, convolutions = itertools.count(1), itertools.count(1)
    for stage in stages:
        if stage == "pool":
            cells.append(parts.pool(f"pool{next(pools)}"))
        else:
            cells.append(parts.lif(parts.convolution(*stage), f"conv{next(convolutions)}"))
    cells += parts.head(dense_units, classes)
    return parts.model(SequentialCell(cells, name="network"), input_shape, num_steps, name)


def spiking_lenet(
    input_shape: Shape = (28, 28, 1),
    classes: int = 10,
    num_steps: int | None = None,
    **settings: Any,
) -> keras.Model:
    """The paper's spiking LeNet: 5x5x20 - pool - 5x5x50 - pool - 200 - classes (517,500 weights on 28x28x1).

    With `preset="paper"`, if no other is given. Arguments and result: as `spiking_vgg`.

    Example:
        >>> spiking_lenet(num_steps=50).count_params()
        517500
    """
    stages: list[tuple[int, ...] | str] = [(20, 5), "pool", (50, 5), "pool"]
    settings = {"name": "spiking_lenet", "preset": "paper", **settings}
    return spiking_vgg(input_shape, classes, stages, [200], num_steps=num_steps, **settings)


def spiking_vgg7(
    input_shape: Shape = (32, 32, 3), classes: int = 10, num_steps: int | None = None, **settings: Any
) -> keras.Model:
    """The paper's spiking VGG7 (SVHN): 64 - 64 - pool - 128 - 128 - pool - 256 - pool - 1024 - classes.

    The authors' code of this network is not public; five convolutions and two fully connected layers are our reading.

    Arguments and result: as `spiking_vgg`.
    """
    stages: list[tuple[int, ...] | str] = [(64, 3), (64, 3), "pool", (128, 3), (128, 3), "pool", (256, 3), "pool"]
    settings = {"name": "spiking_vgg7", **settings}
    return spiking_vgg(input_shape, classes, stages, [1024], num_steps=num_steps, **settings)


def spiking_vgg9(
    input_shape: Shape = (32, 32, 3),
    classes: int = 10,
    num_steps: int | None = None,
    **settings: Any,
) -> keras.Model:
    """The paper's spiking VGG9 (CIFAR-10): 64 - 64 - pool - 128 - 128 - pool - 256 - 256 - 256 - pool - 1024 - classes.

    With `preset="paper"` it has 5,938,880 weights on 32x32x3 and 10 classes. Arguments and result: as `spiking_vgg`.

    Example:
        >>> spiking_vgg9().output_shape
        (None, 10)
    """
    twice: list[tuple[int, ...] | str] = [(64, 3), (64, 3), "pool", (128, 3), (128, 3), "pool"]
    stages = [*twice, (256, 3), (256, 3), (256, 3), "pool"]
    settings = {"name": "spiking_vgg9", **settings}
    return spiking_vgg(input_shape, classes, stages, [1024], num_steps=num_steps, **settings)
