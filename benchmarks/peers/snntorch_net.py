"""snnTorch: `Leaky` neurons with explicit membranes, one loop over time (its tutorials 5 and 6)."""

from __future__ import annotations

from collections.abc import Callable

import snntorch
import torch
from snntorch import surrogate

from benchmarks.networks import BETA, POOL_THRESHOLD, THRESHOLD, Network, Pool
from benchmarks.peers import common


class SnnTorchNet(torch.nn.Module):
    """Images to V[T] / T. `Leaky` resets one step later, which gives the same spikes."""

    def __init__(self, network: Network, num_steps: int) -> None:
        super().__init__()
        self.num_steps = num_steps
        self.synapses = torch.nn.ModuleList(common.synapses(network))
        spike_grad = surrogate.fast_sigmoid(slope=25)
        neurons = [
            snntorch.Leaky(
                beta=1.0 if isinstance(layer, Pool) else BETA,
                threshold=POOL_THRESHOLD if isinstance(layer, Pool) else THRESHOLD,
                spike_grad=spike_grad,
                reset_mechanism="zero",
            )
            for layer in network.layers[:-1]
        ]
        readout = snntorch.Leaky(beta=BETA, reset_mechanism="none", spike_grad=spike_grad)
        self.neurons = torch.nn.ModuleList([*neurons, readout])

    def step(self, spikes: torch.Tensor, membranes: list[torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """One time step of the whole network."""
        after = []
        for synapse, neuron, membrane in zip(self.synapses, self.neurons, membranes, strict=True):
            spikes, membrane = neuron(synapse(spikes), membrane)
            after.append(membrane)
        return spikes, after

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        membranes = [neuron.reset_mem() for neuron in self.neurons]
        for _ in range(self.num_steps):
            _, membranes = self.step(common.poisson(images), membranes)
        return membranes[-1] * (BETA / self.num_steps)


def build(network: Network, num_steps: int, batch: int, mode: str, tuned: bool = False) -> Callable[[], float]:
    """The step to be timed; `tuned` also compiles one time step."""
    model = SnnTorchNet(network, num_steps)
    if tuned:
        model.step = torch.compile(model.step)
    return common.step_of(model, network, batch, mode, tuned)
