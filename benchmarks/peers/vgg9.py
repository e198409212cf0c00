"""VGG9 with batch normalisation in SpikingJelly and in snnTorch, for `time_to_accuracy`.

SpikingJelly in multi-step mode with the neurons of its deep networks, `LIFNode(tau=2.0, detach_reset=True)` and arctan;
snnTorch in a loop over time with `Leaky(beta=0.5)`, as in its tutorial 6, and its default surrogate, arctan. The rest
is as in our network: the image is the input of each step, pooling is average pooling, the outputs are the means over
time of the last layer, no layer has a bias, initial weights are normal (He). In snnTorch, batch normalisation uses the
statistics of each time step; the moving ones are updated at each, with a momentum that makes T updates as strong as
one.

`tuned` goes beyond the libraries' documentation: channels-last tensors, a fused optimizer, and for snnTorch one time
step compiled by `torch.compile` (SpikingJelly in multi-step mode is one graph over all steps).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import snntorch
import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import nn

from benchmarks.networks import CLASSES, NETWORKS, Conv, Pool
from benchmarks.time_to_accuracy import WEIGHT_DECAY, Training

_NETWORK = NETWORKS["vgg9"]


class SpikingJellyVGG9(nn.Module):
    """All steps at once, layer by layer."""

    def __init__(self, num_steps: int):
        super().__init__()
        self.num_steps, parts, features = num_steps, [], 0
        for spec, shape in zip(_NETWORK.layers, _NETWORK.kernel_shapes(), strict=True):
            if isinstance(spec, Pool):
                parts.append(layer.AvgPool2d(2))
                continue
            if isinstance(spec, Conv):
                synapse = layer.Conv2d(shape[2], shape[3], 3, padding=1, bias=False)
                parts += [synapse, layer.BatchNorm2d(shape[3])]
            else:
                parts += [] if features else [layer.Flatten()]
                features = shape[1]
                synapse = layer.Linear(*shape, bias=False)
                parts.append(synapse)
                if features == CLASSES:
                    break
                parts.append(layer.BatchNorm1d(features))
            parts.append(neuron.LIFNode(tau=2.0, detach_reset=True, surrogate_function=surrogate.ATan()))
        self.layers = nn.Sequential(*parts)
        functional.set_step_mode(self, "m")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        functional.reset_net(self)
        return self.layers(images.expand(self.num_steps, *images.shape)).mean(0)


class SnnTorchVGG9(nn.Module):
    """Step by step."""

    def __init__(self, num_steps: int):
        super().__init__()
        self.num_steps, stages, synapses, features = num_steps, [], [], 0
        momentum = 1 - 0.9 ** (1 / num_steps)
        for spec, shape in zip(_NETWORK.layers, _NETWORK.kernel_shapes(), strict=True):
            if isinstance(spec, Pool):
                synapses.append(nn.AvgPool2d(2))
                continue
            if isinstance(spec, Conv):
                synapses.append(nn.Conv2d(shape[2], shape[3], 3, padding=1, bias=False))
                synapses.append(nn.BatchNorm2d(shape[3], momentum=momentum))
            else:
                synapses += [] if features else [nn.Flatten()]
                features = shape[1]
                synapses.append(nn.Linear(*shape, bias=False))
                if features == CLASSES:
                    break
                synapses.append(nn.BatchNorm1d(features, momentum=momentum))
            stages.append(nn.Sequential(*synapses))
            synapses = []
        self.stages, self.readout = nn.ModuleList(stages), nn.Sequential(*synapses)
        spike_grad = snntorch.surrogate.atan()
        self.neurons = nn.ModuleList(snntorch.Leaky(beta=0.5, spike_grad=spike_grad) for _ in stages)

    def step(self, spikes: torch.Tensor, membranes: list[torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """One time step of the whole network."""
        after = []
        for stage, each, membrane in zip(self.stages, self.neurons, membranes, strict=True):
            spikes, membrane = each(stage(spikes), membrane)
            after.append(membrane)
        return self.readout(spikes), after

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        membranes, total = [each.reset_mem() for each in self.neurons], 0.0
        for _ in range(self.num_steps):
            outputs, membranes = self.step(images, membranes)
            total = total + outputs
        return total / self.num_steps


def build(
    library: str,
    num_steps: int,
    bf16: bool,
    learning_rate: Callable[[int], float],
    tuned: bool = False,
    device: str = "cpu",
) -> Training:
    torch.manual_seed(0)
    model = (SpikingJellyVGG9 if library == "spikingjelly" else SnnTorchVGG9)(num_steps).to(device)
    if library == "spikingjelly" and device == "cuda" and importlib.util.find_spec("cupy"):
        functional.set_backend(model, "cupy", neuron.LIFNode)
    for part in model.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
    if tuned:
        model = model.to(memory_format=torch.channels_last)
        if library == "snntorch":
            model.step = torch.compile(model.step)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=WEIGHT_DECAY, fused=tuned)
    memory_format = torch.channels_last if tuned else torch.contiguous_format

    def outputs(images: np.ndarray) -> torch.Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            channels_first = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
            return model(channels_first.contiguous(memory_format=memory_format)).float()

    def train(images: np.ndarray, labels: np.ndarray, step: int) -> None:
        model.train()
        optimizer.param_groups[0]["lr"] = learning_rate(step)
        optimizer.zero_grad()
        nn.functional.cross_entropy(outputs(images), torch.from_numpy(labels).to(device)).backward()
        optimizer.step()

    def predict(images: np.ndarray) -> np.ndarray:
        model.eval()
        with torch.inference_mode():
            return outputs(images).argmax(-1).cpu().numpy()

    def save(path: Path) -> None:
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)

    def load(path: Path) -> None:
        state = torch.load(path)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])

    return Training(train, predict, save, load)
