"""What the PyTorch peers share: synapses, input spikes, and the timed step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from benchmarks import networks
from benchmarks.networks import Conv, Network, Pool
from benchmarks.registry import TRAIN


def kernels(network: Network) -> list[np.ndarray | None]:
    """The weights in PyTorch's layout: (out, in, k, k), (out, in), None for pooling."""
    converted: list[np.ndarray | None] = []
    channels = network.input_shape[-1]
    for kernel in networks.weights(network):
        if kernel is None:
            converted.append(None)
        elif kernel.ndim == 4:
            channels = kernel.shape[-1]
            converted.append(kernel.transpose(3, 2, 0, 1))
        else:
            if channels:  # the first fully connected layer: pixels of one channel follow each other
                pixels_first = kernel.reshape(-1, channels, kernel.shape[-1])
                kernel = pixels_first.swapaxes(0, 1).reshape(kernel.shape)
                channels = 0
            converted.append(kernel.T)
    return converted


def load(synapse: torch.nn.Module, kernel: np.ndarray, gain: float = 1.0) -> torch.nn.Module:
    """Copy a kernel into a convolution or linear module."""
    with torch.no_grad():
        synapse.weight.copy_(torch.from_numpy(kernel * gain))
    return synapse


def synapses(network: Network, gain: float = 1.0) -> list[torch.nn.Module]:
    """One plain PyTorch module for each layer; `gain` multiplies the weights."""
    modules: list[torch.nn.Module] = []
    flat = False
    for layer, kernel in zip(network.layers, kernels(network), strict=True):
        if isinstance(layer, Pool):
            modules.append(torch.nn.AvgPool2d(2))
        elif isinstance(layer, Conv):
            outputs, inputs, size, _ = kernel.shape
            conv = torch.nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
            modules.append(load(conv, kernel, gain))
        else:
            outputs, inputs = kernel.shape
            linear = load(torch.nn.Linear(inputs, outputs, bias=False), kernel, gain)
            modules.append(linear if flat else torch.nn.Sequential(torch.nn.Flatten(), linear))
            flat = True
    return modules


def poisson(images: torch.Tensor) -> torch.Tensor:
    """Signed spikes for one step: probability |x|, sign of x."""
    return torch.sign(images) * (torch.rand_like(images) < images.abs())


def step_of(model: torch.nn.Module, network: Network, batch: int, mode: str, tuned: bool) -> Callable[[], float]:
    """A training step or an inference on one fixed batch, for a model from images to V[T] / T.

    `tuned` stores tensors channels last, which PyTorch recommends for convolutions on a CPU and
    none of these libraries mentions.
    """
    images = torch.from_numpy(networks.images(network, batch).transpose(0, 3, 1, 2).copy())
    if tuned:
        model = model.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    target = torch.from_numpy(networks.one_hot(batch))
    optimizer = torch.optim.SGD(model.parameters(), lr=networks.LEARNING_RATE)

    def train() -> float:
        optimizer.zero_grad()
        loss = torch.sum((model(images) - target) ** 2)
        loss.backward()
        optimizer.step()
        return loss.item()

    def infer() -> float:
        with torch.inference_mode():
            return model(images).sum().item()

    return train if mode == TRAIN else infer
