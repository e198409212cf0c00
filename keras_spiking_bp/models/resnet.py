"""Residual convolutional spiking networks: a stem, residual blocks, fully connected layers, a readout."""

import math
from collections.abc import Sequence
from typing import Any

import keras

from keras_spiking_bp.cells import Cell, GraphCell, ResidualCell, SequentialCell
from keras_spiking_bp.gradients import surrogates
from keras_spiking_bp.models.parts import Parts, Shape
from keras_spiking_bp.utils.validation import check_choice, check_image_shape

#: What a shortcut adds to, in a residual block.
RESIDUALS = ("current", "spikes")


def spiking_resnet(
    input_shape: Shape,
    classes: int,
    blocks: Sequence[tuple[int, int]],
    dense_units: Sequence[int],
    *,
    preset: str = "deep",
    residual: str = "current",
    stem_filters: int = 64,
    num_steps: int | None = None,
    seed: int | None = None,
    name: str = "spiking_resnet",
    **settings: Any,
) -> keras.Model:
    """A residual spiking network, from its blocks (arXiv 1903.06379; no biases anywhere).

    A 3x3 convolution and a pooling layer as the stem, then the blocks. A block `(filters, strides)` is a 3x3
    convolution with LIF neurons and a second one with `strides`, whose current is added to that of the shortcut and
    drives one layer of LIF neurons, the junction. The shortcut is a 1x1 convolution with the same strides; if the
    number of channels stays, every `strides`-th pixel (as the authors' code). Strided convolutions are padded on all
    sides.

    With `residual="spikes"` the second convolution has neurons of its own, and the block returns their spikes plus the
    output of the shortcut, as in SEW ResNet with ADD (Fang et al. 2021, arXiv 2102.04159). For more blocks than the
    paper's: `spiking_resnet20`, and docs/settings.md.

    Args:
        input_shape, classes, dense_units, preset, num_steps, seed, name: as in `spiking_vgg`.
        blocks: `(filters, strides)` of each residual block.
        residual: what a shortcut adds to: `"current"` (the paper) or `"spikes"` (a 1x1 convolution on the shortcut then
            has neurons, too).
        stem_filters: filters of the first convolution.
        **settings: as in `spiking_vgg`, but `kappa` is 1 with `residual="current"`, since two currents meet in a
            junction. With `normalization="batch"` shortcuts with weights are normalised too; where two normalised
            currents meet, their gamma is `sqrt(1 / 2)` at the start.

    Returns: as `spiking_vgg`.

    Example:
        >>> model = spiking_resnet((8, 8, 1), 3, blocks=[(8, 2)], dense_units=[], stem_filters=4)
        >>> model.predict(np.zeros((2, 8, 8, 1), "float32"), verbose=0).shape
        (2, 3)
    """
    check_choice("residual", residual, RESIDUALS)
    check_image_shape("input_shape", input_shape, smallest=2)
    parts = Parts(preset, 1.0 if residual == "current" else 2.0, seed, settings)
    stem = [parts.lif(parts.convolution(stem_filters, 3), "stem"), parts.pool("pool1")]
    if residual == "current":
        cells = [*stem, *_blocks_adding_currents(parts, stem_filters, blocks), *parts.head(dense_units, classes)]
        network: Cell = SequentialCell(cells, name="network")
    else:
        nodes = [*_chain(stem, "input"), *_blocks_adding_spikes(parts, stem_filters, blocks, stem[-1].name)]
        nodes += _chain(parts.head(dense_units, classes), nodes[-1][0].name)
        network = GraphCell(nodes, name="network")
    return parts.model(network, input_shape, num_steps, name)


def _blocks_adding_currents(parts: Parts, channels: int, blocks: Sequence[tuple[int, int]]) -> list[Cell]:
    """Blocks with one layer of neurons for the currents of body and shortcut."""
    cells: list[Cell] = []
    for i, (filters, strides) in enumerate(blocks, start=1):
        block = f"block{i}"
        body = parts.lif(parts.convolution(filters, 3), f"{block}_body")
        std = math.sqrt(0.5) if filters != channels else 1.0  # two normalised currents: their sum has 1
        junction = parts.lif(parts.convolution(filters, 3, strides, std=std), f"{block}_junction")
        shortcut = parts.subsampled(strides) if strides > 1 else None
        if filters != channels:
            shortcut = parts.convolution(filters, 1, strides, std=std)
        cells.append(ResidualCell(body, junction, shortcut, name=block))
        channels = filters
    return cells


def _blocks_adding_spikes(
    parts: Parts, channels: int, blocks: Sequence[tuple[int, int]], before: str
) -> list[tuple[keras.layers.Layer, list[str]]]:
    """Nodes of blocks that return the spikes of body and shortcut, added; `before` is the name of their input."""
    nodes: list[tuple[keras.layers.Layer, list[str]]] = []
    for i, (filters, strides) in enumerate(blocks, start=1):
        block = f"block{i}"
        first = parts.lif(parts.convolution(filters, 3), f"{block}_first")
        second = parts.lif(parts.convolution(filters, 3, strides), f"{block}_second")
        nodes += [(first, [before]), (second, [first.name])]
        shortcut = f"{block}_shortcut"
        if filters != channels:
            nodes.append((parts.lif(parts.convolution(filters, 1, strides), shortcut), [before]))
        elif strides > 1:
            nodes.append((parts.subsampled(strides, shortcut), [before]))
        else:
            shortcut = before
        nodes.append((keras.layers.Add(name=block), [second.name, shortcut]))
        before, channels = block, filters
    return nodes


def _chain(layers: Sequence[keras.layers.Layer], before: str) -> list[tuple[keras.layers.Layer, list[str]]]:
    """Nodes of layers one after the other."""
    sources = [before, *(layer.name for layer in layers)]
    return [(layer, [source]) for layer, source in zip(layers, sources, strict=False)]


def spiking_resnet7(
    input_shape: Shape = (32, 32, 3), classes: int = 10, num_steps: int | None = None, **settings: Any
) -> keras.Model:
    """The paper's spiking ResNet7 (SVHN): 64 - pool - [128, strides 2] - [256, strides 2] - 1024 - classes.

    The authors' code of this network is not public; the blocks are our reading.

    Arguments and result: as `spiking_resnet`.
    """
    blocks = [(128, 2), (256, 2)]
    settings = {"name": "spiking_resnet7", **settings}
    return spiking_resnet(input_shape, classes, blocks, [1024], num_steps=num_steps, **settings)


def spiking_resnet9(
    input_shape: Shape = (32, 32, 3), classes: int = 10, num_steps: int | None = None, **settings: Any
) -> keras.Model:
    """The paper's spiking ResNet9 (CIFAR-10): 64 - pool - [128] - [256, strides 2] - [512, strides 2] - 1024 - classes.

    The authors' code of this network is not public; the blocks are our reading.

    Arguments and result: as `spiking_resnet`.
    """
    blocks = [(128, 1), (256, 2), (512, 2)]
    settings = {"name": "spiking_resnet9", **settings}
    return spiking_resnet(input_shape, classes, blocks, [1024], num_steps=num_steps, **settings)


def spiking_resnet11(
    input_shape: Shape = (32, 32, 3), classes: int = 10, num_steps: int | None = None, **settings: Any
) -> keras.Model:
    """The paper's spiking ResNet11: 64 - pool - [128] - [256, strides 2] - [512] - [512, strides 2] - 1024 - classes.

    With `preset="paper"` it has 17,936,064 weights on 32x32x3 and 10 classes.

    Arguments and result: as `spiking_resnet`.
    """
    blocks = [(128, 1), (256, 2), (512, 1), (512, 2)]
    settings = {"name": "spiking_resnet11", **settings}
    return spiking_resnet(input_shape, classes, blocks, [1024], num_steps=num_steps, **settings)


def spiking_resnet20(
    input_shape: Shape = (32, 32, 3), classes: int = 10, num_steps: int | None = None, **settings: Any
) -> keras.Model:
    """A deep spiking ResNet20: 32 - pool - 3 x [32] - 3 x [64] - 3 x [128] - classes, with `residual="spikes"`.

    Not of the paper: the layers of the ResNet20 for CIFAR-10 (He et al. 2015, arXiv 1512.03385), with twice the
    filters, pooling after the stem, spikes added in the blocks, and a readout of all positions of the last block. The
    first blocks with 64 and with 128 filters have strides 2. With `preset="deep"` the surrogate is by default a
    triangle as wide as the threshold.

    Arguments and result: as `spiking_resnet`.
    """
    if settings.get("preset", "deep") == "deep":
        settings = {"surrogate": surrogates.Triangle().scaled(settings.get("threshold", 2.0)), **settings}
    settings = {"residual": "spikes", "stem_filters": 32, "name": "spiking_resnet20", **settings}
    blocks = [(filters, 1 if i or filters == 32 else 2) for filters in (32, 64, 128) for i in range(3)]
    return spiking_resnet(input_shape, classes, blocks, [], num_steps=num_steps, **settings)
