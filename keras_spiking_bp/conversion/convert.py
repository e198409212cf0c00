"""From a trained ordinary network to a spiking one."""

import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.conversion.balance import balanced
from keras_spiking_bp.conversion.bias import correct_biases, give_biases, images_for, means
from keras_spiking_bp.conversion.graph import normal_form
from keras_spiking_bp.conversion.read import read
from keras_spiking_bp.conversion.write import network, written
from keras_spiking_bp.encoders import ConstantEncoder, PoissonEncoder
from keras_spiking_bp.gradients import surrogates
from keras_spiking_bp.models.parts import assemble
from keras_spiking_bp.rnn.encoded_inputs import joined
from keras_spiking_bp.utils.layers import copy_with_weights
from keras_spiking_bp.utils.validation import is_number


def convert_to_snn(
    ann: keras.Model,
    sample_data: Any,
    num_steps: int | None = None,
    percentile: float = 99.9,
    reset_mechanism: str = "subtract",
    encoder: ConstantEncoder | PoissonEncoder | None = None,
    gradient: str = "accumulated",
    surrogate: surrogates.Surrogate | str | None = None,
    name: str | None = None,
    initial_membrane: float = 0.0,
    signed: bool = False,
    calibrate_biases: bool = False,
    verbose: int = 0,
) -> keras.Model:
    """Converts a trained ordinary network to a spiking one: integrate-and-fire neurons for ReLU, balanced thresholds.

    For each layer, `norm`, a percentile of the activations on the sample data, is what one spike represents. With `W`,
    `b` of the ANN, batch normalisation folded in:

        W <- W * norm_of_input / norm,    b <- b / norm,    threshold 1

    An average pooling layer of spikes becomes neurons with the threshold `norm / norm_of_input`, except where its
    values are added, or are the output; max pooling a `MaxPoolingCell`; the last layer a readout without leak, so that
    the output approximates the ANN's logits. What is not followed by a ReLU is passed on as a current: the sum of
    branches, a linear bottleneck, an average of currents. A network with branches becomes a `GraphCell`, any other a
    `SequentialCell`.

    Supported are Sequential and functional models (also nested) of

    * Dense, Conv1D to Conv3D, DepthwiseConv, SeparableConv, with strides, dilation and groups;
    * ReLU, with or without a maximum (ReLU6: rates saturate too);
    * average and max pooling (global too), anywhere; padding, cropping, Flatten, Reshape, Permute;
    * BatchNormalization and Rescaling anywhere: folded into the layer before, or into the one after if that has no
      padding, else kept as a frozen layer;
    * Add, Concatenate of channels, Dropout and others that do nothing in inference;
    * Rescaling, Normalization, Resizing, CenterCrop and layers that augment at the start: they stay before the encoder;
    * a softmax or sigmoid at the end, which is dropped.

    The result is a model like those of `keras_spiking_bp.models`: `fit` continues its training with spike-based
    backpropagation (hybrid training). Dropout directly after a ReLU is kept for this, except where that ReLU follows
    max pooling or another ReLU; constraints and regularizers are not.

    For few time steps: `initial_membrane=0.5, signed=True, calibrate_biases=True`.

    Args:
        ann: the trained network.
        sample_data: a few hundred training images, as the ANN accepts them, (N, H, W, C) or (N, features); or some
            batches of a `tf.data.Dataset`, such as `dataset.take(4)`.
        num_steps: time steps T; 100 if None and no encoder sets it.
        percentile: of all activations of a layer, in per cent, from 50 to 100. Below 100 single large activations are
            cut off, and fewer steps needed; at 100, the maximum of a ReLU that has one is its `norm`.
        reset_mechanism: `"subtract"` (keeps the excess over the threshold) or `"zero"`.
        encoder: how images become inputs over time; `ConstantEncoder(num_steps, largest=None)` if None. A
            `PoissonEncoder` cuts off `scale * |images|` beyond 1, with a warning.
        gradient: of the result, `"accumulated"` or `"bptt"` (`SpikingRNN`).
        surrogate: of all neurons, as in `LIFCell`, for a threshold of 1 (`Surrogate.scaled` where it is another).
        name: of the result.
        initial_membrane: the membrane potential before the first step, as a fraction of the threshold. At a half,
            counts are rounded to nearest, not down.
        signed: whether neurons take spikes back (`LIFCell`): fewer steps for the same accuracy.
        calibrate_biases: whether to run the spiking network on up to 128 of the images (fewer if they would take more
            than 2 GiB) and to add to each bias the shortfall of its channel's mean rate from the ANN's mean.
        verbose: 1 shows progress bars over batches and layers.

    Raises:
        ValueError: if a layer cannot be converted, or its activations on the sample data have NaN or infinity, or are
            all 0.

    Source: Diehl et al. 2015 (maximum), Rueckauer et al. 2017 (percentile); for few steps, Li et al., "A Free Lunch
    From ANN", ICML 2021 (calibration of biases), Bu et al., AAAI 2022 (half a threshold).

    Example:
        >>> ann = keras.Sequential([
        ...     keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.MaxPooling2D(2),
        ...     keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax"),
        ... ])
        >>> images = np.random.default_rng(0).uniform(0, 1, (20, 8, 8, 1)).astype("float32")
        >>> snn = convert_to_snn(ann, images, num_steps=50)
        >>> bool((snn.predict(images, verbose=0).argmax(-1) == ann.predict(images, verbose=0).argmax(-1)).mean() > 0.8)
        True
    """
    if not (is_number(percentile) and 50 <= percentile <= 100):
        raise ValueError(f"`percentile` must be in per cent, from 50 to 100. Received: percentile={percentile!r}")
    if encoder is None:
        encoder = ConstantEncoder(100 if num_steps is None else num_steps, largest=None)
    elif not isinstance(encoder, (ConstantEncoder, PoissonEncoder)):
        raise TypeError(f"`encoder` must be a ConstantEncoder or PoissonEncoder. Received: encoder={encoder!r}")
    graph = read(ann)
    images, shape = np.asarray(joined(sample_data), "float32"), tuple(ann.inputs[0].shape[1:])
    if not images.size or images.shape[1:] != shape:
        raise ValueError(f"`sample_data` must hold images of the shape {shape}. Received: shape {images.shape}")
    normal_form(graph)
    unit, cuts_off = 1.0 / encoder.scale, isinstance(encoder, PoissonEncoder)
    largest = float(tf.reduce_max(tf.abs(graph.prepared(images)))) if cuts_off else 0.0
    if largest > 1.01 * unit:  # not the rounding of the advice
        warnings.warn(
            f"`encoder` cuts off values of images beyond {unit:.3g}, and `sample_data` has values up to {largest:.3g}: "
            f"give PoissonEncoder(scale={1.0 / largest:.3g}), or a ConstantEncoder",
            stacklevel=2,
        )
    norms = balanced(graph, images, percentile, verbose)
    if calibrate_biases:
        few = images_for(graph, images, encoder.num_steps)
        give_biases(graph)
        expected = means(graph, few, norms)
    neuron = {"reset_mechanism": reset_mechanism, "initial_membrane": initial_membrane, "signed": signed}
    parts = written(graph, norms, unit, surrogate=surrogates.get(surrogate), **neuron)
    front = [copy_with_weights(layer) for layer in graph.front.layers] if graph.front else []
    snn = assemble(network(parts), shape, num_steps, encoder, gradient, None, name or f"{ann.name}_snn", front)
    if calibrate_biases:
        correct_biases(parts, graph, encoder(graph.prepared(few)), expected, verbose)
    return snn
