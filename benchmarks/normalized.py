"""VGG9 with batch normalisation, few time steps: one training step of each library, as in `time_to_accuracy`."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from benchmarks import networks
from benchmarks.networks import Network
from benchmarks.time_to_accuracy import LEARNING_RATE, LIBRARIES


def build(
    network: Network, num_steps: int, batch: int, mode: str, library: str, bf16: bool, **options: bool
) -> Callable[[], None]:
    """The step to be timed: images and labels to new weights, by AdamW."""
    module = importlib.import_module(f"benchmarks.{LIBRARIES[library]}")
    training = module.build(library, num_steps, bf16, lambda step: LEARNING_RATE, **options)
    images, labels = networks.images(network, batch), networks.one_hot(batch).argmax(-1)
    return lambda: training.train(images, labels, 0)
