"""SpikingJelly in multi-step mode: every layer sees all time steps at once (its recommendation)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate

from benchmarks.networks import BETA, POOL_THRESHOLD, THRESHOLD, Conv, Network, Pool
from benchmarks.peers import common

TAU = 1 / (1 - BETA)
TINY = 1e-6  # SpikingJelly fires AT the threshold too, the others above it


def modules(network: Network) -> list[torch.nn.Module]:
    """Layers with their neurons, and a last layer without spikes that decodes to V[T] / tau."""
    stack: list[torch.nn.Module] = []
    spike_grad = {"surrogate_function": surrogate.ATan()}
    flat = False
    for spec, kernel in zip(network.layers, common.kernels(network), strict=True):
        if isinstance(spec, Pool):
            stack.append(layer.AvgPool2d(2))
            stack.append(neuron.IFNode(v_threshold=POOL_THRESHOLD + TINY, **spike_grad))
            continue
        if isinstance(spec, Conv):
            outputs, inputs, size, _ = kernel.shape
            synapse = layer.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
        else:
            if not flat:
                stack.append(layer.Flatten())
            flat = True
            outputs, inputs = kernel.shape
            synapse = layer.Linear(inputs, outputs, bias=False)
        stack.append(common.load(synapse, kernel))
        stack.append(neuron.LIFNode(tau=TAU, decay_input=False, v_threshold=THRESHOLD + TINY, **spike_grad))
    stack[-1] = neuron.NonSpikingLIFNode(tau=TAU, decode="last_mem")
    return stack


class SpikingJellyNet(torch.nn.Module):
    """Images to V[T] / T."""

    def __init__(self, network: Network, num_steps: int) -> None:
        super().__init__()
        self.num_steps = num_steps
        self.layers = torch.nn.Sequential(*modules(network))
        functional.set_step_mode(self, step_mode="m")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        functional.reset_net(self)
        spikes = common.poisson(images.expand(self.num_steps, *images.shape))
        return self.layers(spikes) * (TAU * BETA / self.num_steps)


def build(network: Network, num_steps: int, batch: int, mode: str, tuned: bool = False) -> Callable[[], float]:
    """The step to be timed."""
    model = SpikingJellyNet(network, num_steps)
    return common.step_of(model, network, batch, mode, tuned)
