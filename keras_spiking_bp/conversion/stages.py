"""Groups the layers of an ordinary network into what becomes one layer of neurons each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras

from keras_spiking_bp.conversion.read import Branches, Part

WEIGHTED = (keras.layers.Dense, keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
AVERAGE = (keras.layers.AveragePooling2D, keras.layers.GlobalAveragePooling2D)
MAXIMUM = (keras.layers.MaxPooling2D, keras.layers.GlobalMaxPooling2D)
_KNOWN = (
    "Conv2D, DepthwiseConv2D, Dense, BatchNormalization behind one of them, ReLU, average and max pooling, "
    "ZeroPadding2D, Flatten, Dropout, Add, and a softmax at the end"
)


@dataclasses.dataclass
class Synapse:
    """Affine layers in a row: padding, at most one layer with weights, batch normalisation behind it.

    In a shortcut there may be average pooling, too.
    """

    layers: list[keras.layers.Layer] = dataclasses.field(default_factory=list)
    normalisation: keras.layers.BatchNormalization | None = None

    @property
    def weighted(self) -> keras.layers.Layer | None:
        return next((layer for layer in self.layers if isinstance(layer, WEIGHTED)), None)


@dataclasses.dataclass
class Neurons:
    """A synapse with ReLU behind it. `dropout` is that of a `Dropout` layer behind the ReLU."""

    synapse: Synapse
    dropout: float = 0.0


@dataclasses.dataclass
class Pooling:
    """Average or max pooling of activations."""

    layer: keras.layers.Layer


@dataclasses.dataclass
class Reshaping:
    """A layer that passes activations on: `Flatten`."""

    layer: keras.layers.Layer


@dataclasses.dataclass
class Residual:
    """Two currents that are added, with ReLU behind. `joint` is the last synapse of the body, empty for none."""

    body: list[Stage]
    joint: Synapse
    shortcut: Synapse
    name: str
    dropout: float = 0.0


@dataclasses.dataclass
class Readout:
    """The last synapse, with no ReLU behind it."""

    synapse: Synapse


Stage = Neurons | Pooling | Reshaping | Residual | Readout


def stages(parts: Sequence[Part]) -> list[Stage]:
    """The stages of a whole network, the last one a `Readout`.

    Raises:
        ValueError: if a layer cannot be converted, or not at its place; it is named.
    """
    found, rest = _grouped(parts, rectified=False)
    if rest is None or rest.weighted is None:
        raise ValueError("`ann` must end in a Dense or convolutional layer, linear or with a softmax behind it")
    return [*found, Readout(rest)]


def _grouped(parts: Sequence[Part], rectified: bool) -> tuple[list[Stage], Synapse | None]:
    """The stages, and the synapse that is left open at the end. `rectified`: no negative number comes in."""
    found: list[Stage] = []
    open_synapse: Synapse | None = None
    adding: Residual | None = None  # a residual block that waits for its ReLU
    for i, part in enumerate(parts):
        last = all(_is_nothing(behind) for behind in parts[i + 1 :])
        _refuse_if(getattr(part, "data_format", None) == "channels_first", part, "it must be channels_last")
        if isinstance(part, Branches):
            _refuse_if(open_synapse or adding, part.add, "its branches must begin behind a ReLU or pooling")
            adding = _residual(part, rectified)
        elif _is_nothing(part):
            behind_neurons = found and isinstance(found[-1], (Neurons, Residual)) and not (open_synapse or adding)
            if isinstance(part, keras.layers.Dropout) and behind_neurons:
                found[-1].dropout = float(part.rate)
        elif _is_relu(part):
            if adding is not None:
                found.append(adding)
                adding = None
            elif open_synapse is not None:
                _refuse_if(open_synapse.weighted is None, part, "it stands behind padding alone")
                found.append(Neurons(open_synapse))
                open_synapse = None
            else:  # behind a ReLU it does nothing
                _refuse_if(not rectified, part, "there is no layer with weights before it")
            rectified = True
        elif adding is not None:
            _refuse_if(True, part, f"behind {adding.name!r} there must be a ReLU")
        elif isinstance(part, WEIGHTED):
            open_synapse = open_synapse or Synapse()
            _refuse_if(open_synapse.weighted, part, "there is no ReLU between it and the layer with weights before")
            open_synapse.layers.append(part)
            if _activation(part) == "relu":
                found.append(Neurons(open_synapse))
                open_synapse, rectified = None, True
            else:
                softmax_at_the_end = _activation(part) == "softmax" and last
                _refuse_if(not softmax_at_the_end and _activation(part) != "linear", part,
                           f"its activation is {_activation(part)!r}")  # fmt: skip
        elif isinstance(part, keras.layers.BatchNormalization):
            _fold(part, open_synapse)
        elif isinstance(part, keras.layers.ZeroPadding2D):
            _refuse_if(open_synapse, part, "there is no ReLU between it and the layer before")
            open_synapse = Synapse([part])
        elif isinstance(part, (*AVERAGE, *MAXIMUM, keras.layers.Flatten)):
            _refuse_if(open_synapse, part, "there is no ReLU between it and the layer with weights before")
            pools = not isinstance(part, keras.layers.Flatten)
            _refuse_if(pools and not rectified, part, "it must stand behind a ReLU, since spikes have no sign")
            found.append(Pooling(part) if pools else Reshaping(part))
        elif not (_is_softmax(part) and last):
            raise ValueError(f"The layer {part.name!r} ({type(part).__name__}) cannot be converted. What can: {_KNOWN}")
    if adding is not None:
        raise ValueError(f"Behind the layer {adding.name!r} (Add) there must be a ReLU")
    return found, open_synapse


def _residual(branches: Branches, rectified: bool) -> Residual:
    """Which branch is the body, with neurons in it, and which the shortcut."""
    first, second = branches.first, branches.second
    if not _has_neurons(first):
        first, second = second, first
    if not _has_neurons(first) or _has_neurons(second):
        raise ValueError(
            f"The layer {branches.add.name!r} (Add) must have one branch with a ReLU, the other without. Received: "
            f"{'none' if not _has_neurons(first) else 'both'} with one"
        )
    body, joint = _grouped(first, rectified)
    shortcut = Synapse()
    for part in second:
        _refuse_if(getattr(part, "data_format", None) == "channels_first", part, "it must be channels_last")
        if isinstance(part, keras.layers.BatchNormalization):
            _fold(part, shortcut)
        elif isinstance(part, (*WEIGHTED, *AVERAGE, keras.layers.ZeroPadding2D)):
            two = isinstance(part, WEIGHTED) and shortcut.weighted is not None
            _refuse_if(two, part, "a shortcut may have one layer with weights")
            _refuse_if(shortcut.normalisation, part, "it stands behind the batch normalisation of a shortcut")
            shortcut.layers.append(part)
        else:
            _refuse_if(not _is_nothing(part), part, "it stands in a shortcut")
    return Residual(body, joint or Synapse(), shortcut, branches.add.name)


def _has_neurons(parts: Sequence[Part]) -> bool:
    return any(
        isinstance(part, Branches) or _is_relu(part) or (isinstance(part, WEIGHTED) and _activation(part) == "relu")
        for part in parts
    )


def _fold(layer: keras.layers.BatchNormalization, synapse: Synapse | None) -> None:
    fits = synapse is not None and synapse.weighted is not None and synapse.normalisation is None
    _refuse_if(not fits, layer, "it can only be folded into a Conv2D, DepthwiseConv2D or Dense layer right before it")
    _refuse_if(synapse.layers[-1] is not synapse.weighted, layer, "there is a layer between it and the weights")
    last_axis = 3 if not isinstance(synapse.weighted, keras.layers.Dense) else layer.axis
    _refuse_if(layer.axis not in (-1, last_axis), layer, f"it must normalise channels, and has axis={layer.axis}")
    synapse.normalisation = layer


def _activation(layer: keras.layers.Layer) -> str:
    return getattr(layer.activation, "__name__", str(layer.activation))


def _is_relu(part: Part) -> bool:
    if isinstance(part, keras.layers.ReLU):
        plain = part.max_value is None and not part.negative_slope and not part.threshold
        _refuse_if(not plain, part, "only a plain ReLU, with no maximum, slope or threshold, is what a neuron does")
        return True
    return isinstance(part, keras.layers.Activation) and _activation(part) == "relu"


def _is_softmax(part: Part) -> bool:
    is_activation = isinstance(part, keras.layers.Activation) and _activation(part) == "softmax"
    return is_activation or isinstance(part, keras.layers.Softmax)


def _is_nothing(part: Part) -> bool:
    """Whether a layer does nothing in inference."""
    linear = isinstance(part, keras.layers.Activation) and _activation(part) == "linear"
    return linear or isinstance(part, (keras.layers.Dropout, keras.layers.SpatialDropout2D, keras.layers.Identity))


def _refuse_if(condition: object, layer: keras.layers.Layer, why: str) -> None:
    if condition:
        raise ValueError(f"The layer {layer.name!r} ({type(layer).__name__}) cannot be converted: {why}")
