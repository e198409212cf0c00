"""The three networks in snnTorch and SpikingJelly, as their examples define and train them. Needs torch.

Rewritten from snnTorch's tutorials 5 and 6 and SpikingJelly's conv_fashion_mnist, with their defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import snntorch
import torch
from snntorch import functional as snntorch_functional
from snntorch import surrogate as snntorch_surrogate
from snntorch import utils as snntorch_utils
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss, one_hot

from examples.experiments.ports import conv_fashion_mnist, snntorch5, snntorch6
from examples.experiments.ports.data import Data


class SnnTorch5(nn.Module):
    """Images (B, 1, 28, 28) to spikes and potentials of the output neurons, (T, B, 10)."""

    def __init__(self, num_steps: int = snntorch5.NUM_STEPS, **neurons):
        super().__init__()
        self.num_steps = num_steps
        self.fc1, self.lif1 = nn.Linear(784, 1000), snntorch.Leaky(snntorch5.BETA, **neurons)
        self.fc2, self.lif2 = nn.Linear(1000, 10), snntorch.Leaky(snntorch5.BETA, **neurons)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        images, mem1, mem2, steps = images.flatten(1), self.lif1.reset_mem(), self.lif2.reset_mem(), []
        for _ in range(self.num_steps):
            spikes, mem1 = self.lif1(self.fc1(images), mem1)
            spikes, mem2 = self.lif2(self.fc2(spikes), mem2)
            steps.append((spikes, mem2))
        spikes, potentials = zip(*steps, strict=True)
        return torch.stack(spikes), torch.stack(potentials)


class SnnTorch6(nn.Module):
    """Images (B, 1, 28, 28) to spikes and potentials of the output neurons, (T, B, 10)."""

    def __init__(self, num_steps: int = snntorch6.NUM_STEPS, **neurons):
        super().__init__()
        self.num_steps = num_steps
        grad = snntorch_surrogate.fast_sigmoid(slope=snntorch6.SLOPE)
        neurons = {"beta": snntorch6.BETA, "spike_grad": grad, "init_hidden": True, **neurons}
        self.net = nn.Sequential(
            *(nn.Conv2d(1, 12, 5), nn.MaxPool2d(2), snntorch.Leaky(**neurons)),
            *(nn.Conv2d(12, 64, 5), nn.MaxPool2d(2), snntorch.Leaky(**neurons)),
            *(nn.Flatten(), nn.Linear(1024, 10), snntorch.Leaky(**neurons, output=True)),
        )

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        snntorch_utils.reset(self.net)
        spikes, potentials = zip(*(self.net(images) for _ in range(self.num_steps)), strict=True)
        return torch.stack(spikes), torch.stack(potentials)


class CSNN(nn.Module):
    """Images (B, 1, 28, 28) to firing rates (B, 10). `node` makes a layer of neurons."""

    def __init__(
        self,
        channels: int = 128,
        num_steps: int = conv_fashion_mnist.NUM_STEPS,
        node: Callable[[], nn.Module] = lambda: neuron.IFNode(surrogate_function=surrogate.ATan()),
    ):
        super().__init__()
        self.num_steps, stages = num_steps, []
        for inputs in (1, channels):
            stages += [
                *(layer.Conv2d(inputs, channels, kernel_size=3, padding=1, bias=False), layer.BatchNorm2d(channels)),
                *(node(), layer.MaxPool2d(2, 2)),
            ]
        units = channels * 4 * 4
        self.conv_fc = nn.Sequential(
            *(*stages, layer.Flatten(), layer.Linear(channels * 7 * 7, units, bias=False), node()),
            *(layer.Linear(units, 10, bias=False), node()),
        )
        functional.set_step_mode(self, step_mode="m")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        functional.reset_net(self)
        return self.conv_fc(images.expand(self.num_steps, *images.shape)).mean(0)


def _snntorch5_loss(outputs, labels):
    return sum(cross_entropy(potentials, labels) for potentials in outputs[1])


def _snntorch6_loss(outputs, labels):
    return snntorch_functional.ce_rate_loss()(outputs[0], labels)


def _csnn_loss(rates, labels):
    return mse_loss(rates, one_hot(labels, 10).float())


_LOSSES = {"snntorch5": _snntorch5_loss, "snntorch6": _snntorch6_loss, "conv_fashion_mnist": _csnn_loss}


def build(name: str, **options) -> nn.Module:
    """The network of a port, by its name."""
    return {"snntorch5": SnnTorch5, "snntorch6": SnnTorch6, "conv_fashion_mnist": CSNN}[name](**options)


def optimizer_of(port: ModuleType, model: nn.Module) -> torch.optim.Optimizer:
    """Adam, or for SpikingJelly's example SGD with momentum."""
    if port is conv_fashion_mnist:
        return torch.optim.SGD(model.parameters(), port.LEARNING_RATE, momentum=port.MOMENTUM)
    return torch.optim.Adam(model.parameters(), port.LEARNING_RATE)


def loss_of(port: ModuleType, model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The loss of a batch."""
    return _LOSSES[port.NAME](model(images), labels)


def train(port: ModuleType, data: Data, epochs: int, seed: int, **options) -> nn.Module:
    """The trained network, with the hyper-parameters of the port."""
    torch.manual_seed(seed)
    model = build(port.NAME, **options)
    optimizer = optimizer_of(port, model)
    schedule = None
    if port is conv_fashion_mnist:
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    images, labels = _tensors(data.train)
    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(images))
        for first in range(0, len(order) - port.BATCH_SIZE + 1, port.BATCH_SIZE):
            batch = order[first : first + port.BATCH_SIZE]
            optimizer.zero_grad()
            loss_of(port, model, images[batch], labels[batch]).backward()
            optimizer.step()
        if schedule is not None:
            schedule.step()
    return model


def accuracy(model: nn.Module, data: Data, batch_size: int = 128) -> float:
    """The share of test images for which the correct output neuron has the most spikes."""
    images, labels = _tensors(data.test)
    model.eval()
    right = 0
    with torch.inference_mode():
        for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True):
            outputs = model(x)
            counts = outputs if isinstance(outputs, torch.Tensor) else outputs[0].sum(0)
            right += (counts.argmax(1) == y).sum().item()
    return right / len(labels)


def _tensors(split) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = split
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), torch.from_numpy(labels).long()
