"""Norse: box-shaped LIF cells in a `SequentialState`, one loop over time (its tutorials)."""

from __future__ import annotations

from collections.abc import Callable

import norse.torch as norse
import torch

from benchmarks.networks import BETA, POOL_THRESHOLD, THRESHOLD, Network, Pool
from benchmarks.peers import common


def modules(network: Network) -> list[torch.nn.Module]:
    """Synapses and cells. Norse scales inputs by 1 - beta: the weights are divided by it."""
    leak = torch.tensor((1 - BETA) / 0.001)
    lif = norse.LIFBoxParameters(tau_mem_inv=leak, v_th=torch.tensor(THRESHOLD))
    pool = norse.IAFParameters(v_th=torch.tensor(POOL_THRESHOLD))
    stack: list[torch.nn.Module] = []
    for layer, synapse in zip(network.layers, common.synapses(network, 1 / (1 - BETA)), strict=True):
        stack.append(synapse)
        stack.append(norse.IAFCell(pool) if isinstance(layer, Pool) else norse.LIFBoxCell(lif))
    stack[-1] = norse.LIBoxCell(norse.LIBoxParameters(tau_mem_inv=leak))
    return stack


class NorseNet(torch.nn.Module):
    """Images to V[T] / T."""

    def __init__(self, network: Network, num_steps: int) -> None:
        super().__init__()
        self.num_steps = num_steps
        self.step = norse.SequentialState(*modules(network))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        state = None
        for _ in range(self.num_steps):
            voltage, state = self.step(common.poisson(images), state)
        return voltage * (BETA / self.num_steps)


def build(network: Network, num_steps: int, batch: int, mode: str, tuned: bool = False) -> Callable[[], float]:
    """The step to be timed; `tuned` also compiles one time step (Norse 1.1 tests torch.compile)."""
    model = NorseNet(network, num_steps)
    if tuned:
        model.step = torch.compile(model.step)
    return common.step_of(model, network, batch, mode, tuned)
