"""The rule of Lee et al. (2020) written plainly in PyTorch: autodiff through all time steps.

A step that fired has the derivative correction / threshold, with the correction of the LAST step
for every step; the reset is differentiated, the leak is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from benchmarks.networks import BETA, POOL_THRESHOLD, THRESHOLD, Network, Pool
from benchmarks.peers import common


class Fire(torch.autograd.Function):
    """Heaviside step whose backward pass reads the factor that the neuron knows at the end."""

    @staticmethod
    def forward(ctx, potential: torch.Tensor, neuron: Neuron) -> torch.Tensor:
        spikes = (potential > neuron.threshold).to(potential.dtype)
        ctx.save_for_backward(spikes)
        ctx.neuron = neuron
        return spikes

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (spikes,) = ctx.saved_tensors
        factor = ctx.neuron.factor
        gradient = gradient * spikes
        return (gradient if factor is None else gradient * factor), None


class Neuron:
    """Potential and bookkeeping of one layer of neurons during one presentation."""

    def __init__(self, beta: float, threshold: float) -> None:
        self.beta = beta
        self.threshold = threshold
        self.factor: torch.Tensor | None = None
        self.potential: torch.Tensor | float = 0.0
        self.trace: torch.Tensor | float = 0.0
        self.count: torch.Tensor | float = 0.0

    def step(self, current: torch.Tensor) -> torch.Tensor:
        """Integrate, fire, reset and leak; return the spikes."""
        potential = self.potential + current
        spikes = Fire.apply(potential, self)
        fired = spikes.detach()
        potential = potential * (1 - fired)
        if self.beta != 1:
            potential = torch.add(potential, potential.detach(), alpha=self.beta - 1)
            if torch.is_grad_enabled():
                self.trace = self.beta * self.trace + fired
                self.count = self.count + fired
        self.potential = potential
        return spikes

    def finish(self) -> None:
        """After the last step: the factor 1 / threshold * (1 + ln(beta) * trace / count)."""
        if self.beta != 1:
            correction = 1 + math.log(self.beta) * self.trace / self.count.clamp(min=1)
            self.factor = correction / self.threshold


class AuthorsRule(torch.nn.Module):
    """Images to V[T] / T."""

    def __init__(self, network: Network, num_steps: int) -> None:
        super().__init__()
        self.num_steps = num_steps
        self.synapses = torch.nn.ModuleList(common.synapses(network))
        self.constants = [
            (1.0, POOL_THRESHOLD) if isinstance(layer, Pool) else (BETA, THRESHOLD) for layer in network.layers[:-1]
        ]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        *hidden, readout = self.synapses
        neurons = [Neuron(beta, threshold) for beta, threshold in self.constants]
        voltage: torch.Tensor | float = 0.0
        for _ in range(self.num_steps):
            spikes = common.poisson(images)
            for synapse, neuron in zip(hidden, neurons, strict=True):
                spikes = neuron.step(synapse(spikes))
            voltage = voltage + readout(spikes)
            voltage = torch.add(voltage, voltage.detach(), alpha=BETA - 1)
        if torch.is_grad_enabled():
            for neuron in neurons:
                neuron.finish()
        return voltage / self.num_steps


def build(network: Network, num_steps: int, batch: int, mode: str, tuned: bool = False) -> Callable[[], float]:
    """The step to be timed."""
    model = AuthorsRule(network, num_steps)
    return common.step_of(model, network, batch, mode, tuned)
