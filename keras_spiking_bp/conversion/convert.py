"""From a trained ordinary network to a spiking one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_spiking_bp.cells import LIFCell, MaxPoolingCell, ReadoutCell, ResidualCell, SequentialCell
from keras_spiking_bp.cells.lif import RESET_MECHANISMS
from keras_spiking_bp.conversion.fold import folded, scaled
from keras_spiking_bp.conversion.read import read
from keras_spiking_bp.conversion.stages import MAXIMUM, Pooling, Readout, Reshaping, Residual, Stage, stages
from keras_spiking_bp.encoders import ConstantEncoder, Encoder
from keras_spiking_bp.layer_graph import copy_of
from keras_spiking_bp.models.assemble import assemble
from keras_spiking_bp.rnn import GRADIENTS
from keras_spiking_bp.validation import check_choice, check_positive_int, check_static_shape


def convert_to_snn(
    ann: keras.Model,
    sample_data: Any,
    num_steps: int | None = None,
    method: str = "percentile",
    percentile: float = 99.9,
    reset_mechanism: str = "subtract",
    encoder: Encoder | None = None,
    gradient: str = "accumulated",
    name: str | None = None,
) -> keras.Model:
    """A trained ordinary network as a spiking one: integrate-and-fire neurons for ReLU, thresholds balanced.

    Layer by layer, on the sample data: `norm`, the largest activation (or a high percentile), is what one spike stands
    for, so that a neuron which fires at each step means `norm`. `W`, `b` of the ANN, batch normalisation folded in:

        W <- W * norm_of_input / norm,    b <- b / norm,    threshold 1

    An average pooling layer becomes neurons with the threshold `norm / norm_of_input`; max pooling a
    `MaxPoolingCell`; `Add` a `ResidualCell`, whose shortcut is scaled like a synapse; the last layer a readout without
    leak, so that the output is the ANN's logits as far as the spikes can tell.

    What can be converted: Sequential and functional models (nested ones too) of Conv2D, DepthwiseConv2D, Dense, average
    and max pooling (global too), BatchNormalization right behind a layer with weights, ZeroPadding2D, Flatten, Dropout,
    ReLU, Add (of one branch with a ReLU and one without, followed by a ReLU), and a linear or softmax layer at the end.

    The result is a model like those of `keras_spiking_bp.models`: `fit` goes on training it with spike-based
    backpropagation (hybrid training; dropout right behind a ReLU is kept for that, other dropout is not).

    Args:
        ann: the trained network.
        sample_data: some hundred training images, as the ANN takes them, (N, H, W, C) or (N, features).
        num_steps: time steps T; 100 if None and no encoder says it.
        method: `"max"` or `"percentile"` (robust against single large activations: fewer steps are needed).
        percentile: of all activations of a layer, above 0, at most 100.
        reset_mechanism: `"subtract"` (keeps what is above the threshold) or `"zero"`.
        encoder: how images become inputs over time; `ConstantEncoder(num_steps)` if None. With a `PoissonEncoder`
            `scale * |images|` should be at most 1.
        gradient: of the result, `"accumulated"`, `"bounded"` or `"bptt"` (`SpikingRNN`).
        name: of the result.

    Raises:
        TypeError: if `ann` is no Sequential or functional model, or `encoder` no encoder.
        ValueError: if an argument is out of range, a layer cannot be converted (it is named; nothing has been computed
            then), or a layer is silent on all sample data.

    Source: threshold balancing, Diehl et al. 2015 (maximum), Rueckauer et al. 2017 (percentile).

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
    check_choice("method", method, ("max", "percentile"))
    check_choice("reset_mechanism", reset_mechanism, RESET_MECHANISMS)
    check_choice("gradient", gradient, GRADIENTS)
    if not 0 < percentile <= 100:
        raise ValueError(f"`percentile` must be above 0 and at most 100. Received: percentile={percentile!r}")
    if encoder is None:
        encoder = ConstantEncoder(100 if num_steps is None else check_positive_int("num_steps", num_steps))
    elif not isinstance(encoder, Encoder):
        raise TypeError(f"`encoder` must be an encoder, such as PoissonEncoder(50). Received: encoder={encoder!r}")
    plan = stages(read(ann))
    shape = check_static_shape("input shape of `ann`", ann.inputs[0].shape[1:])
    if isinstance(sample_data, tf.data.Dataset):
        raise TypeError("`sample_data` must be an array, such as the first batch of the Dataset that was given")
    images = np.asarray(sample_data, "float32")
    if not np.isfinite(images).all():
        raise ValueError("`sample_data` must be finite numbers. It has NaN or infinity")
    if not len(images) or images.shape[1:] != shape:
        raise ValueError(
            f"`sample_data` must hold images of the shape {shape} that `ann` takes. Received: shape {images.shape}"
        )
    convert = _Converter(100.0 if method == "max" else percentile, reset_mechanism)
    cells, _, _ = convert.chain(plan, images, 1.0 / encoder.scale)
    network = SequentialCell(cells, name="network")
    return assemble(network, shape, num_steps, encoder, gradient, None, name or f"{ann.name}_snn")


class _Converter:
    """Makes cells of stages in order. `inputs` are the activations of the ANN, `unit` is what one spike stands for."""

    def __init__(self, percentile: float, reset_mechanism: str):
        self.percentile = percentile
        self.reset = reset_mechanism
        self.names: dict[str, int] = {}

    def chain(self, plan: Sequence[Stage], inputs: np.ndarray, unit: float):
        """Cells, activations behind them, and their unit."""
        cells = []
        for stage in plan:
            cell, inputs, unit = self._cell(stage, inputs, unit)
            cells.append(cell)
        return cells, inputs, unit

    def _cell(self, stage: Stage, inputs: np.ndarray, unit: float):
        if isinstance(stage, Reshaping):
            layer = copy_of(stage.layer)
            return layer, _apply(layer, inputs), unit
        if isinstance(stage, Pooling):
            name, layer = self._name("pool"), copy_of(stage.layer)
            if isinstance(layer, MAXIMUM):
                return MaxPoolingCell(layer, name=name), _apply(layer, inputs), unit
            outputs = _apply(layer, inputs)
            norm = self._norm(outputs, stage.layer.name)
            # no IFCell: its derivative has no 1 / threshold, which belongs to this threshold
            return LIFCell(layer, 1.0, norm / unit, self.reset, name=name), outputs, norm
        if isinstance(stage, Residual):
            return self._residual(stage, inputs, unit)
        layer = folded(stage.synapse, inputs.shape[1:], stage.synapse.weighted.name)
        currents = _apply(layer, inputs)
        if isinstance(stage, Readout):
            return ReadoutCell(scaled(layer, unit, 1.0), beta=1.0, name="readout"), currents, 1.0
        outputs = np.maximum(currents, 0)
        norm = self._norm(outputs, layer.name)
        synapse = scaled(layer, unit / norm, 1 / norm)
        kind = "fc" if isinstance(stage.synapse.weighted, keras.layers.Dense) else "conv"
        return self._neurons(synapse, stage.dropout, self._name(kind)), outputs, norm

    def _residual(self, stage: Residual, inputs: np.ndarray, unit: float):
        name = self._name("block")
        cells, ends, unit_of_body = self.chain(stage.body, inputs, unit)
        body = cells[0] if len(cells) == 1 else SequentialCell(cells, name=f"{name}_body")
        joint = folded(stage.joint, ends.shape[1:], f"{name}_joint")
        around = folded(stage.shortcut, inputs.shape[1:], f"{name}_around")
        outputs = np.maximum(_apply(joint, ends) + _apply(around, inputs), 0)
        norm = self._norm(outputs, stage.name)
        junction = self._neurons(scaled(joint, unit_of_body / norm, 1 / norm), stage.dropout, f"{name}_junction")
        shortcut = scaled(around, unit / norm, 1 / norm)
        return ResidualCell(body, junction, shortcut, name=name), outputs, norm

    def _neurons(self, synapse: keras.layers.Layer, dropout: float, name: str) -> LIFCell:
        return LIFCell(synapse, beta=1.0, threshold=1.0, reset_mechanism=self.reset, dropout=dropout, name=name)

    def _norm(self, activations: np.ndarray, of: str) -> float:
        norm = float(np.percentile(activations, self.percentile))
        if not norm > 0:
            raise ValueError(
                f"The layer {of!r} gives 0 for {self.percentile:g} % of its activations on `sample_data`: there is "
                "nothing to balance its threshold by. Give more data, or method='max'"
            )
        return norm

    def _name(self, kind: str) -> str:
        self.names[kind] = self.names.get(kind, 0) + 1
        return f"{kind}{self.names[kind]}"


def _apply(layer: keras.layers.Layer, inputs: np.ndarray, batch_size: int = 50) -> np.ndarray:
    starts = range(0, len(inputs), batch_size)
    return np.concatenate([np.asarray(layer(tf.constant(inputs[i : i + batch_size]))) for i in starts])
