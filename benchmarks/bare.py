"""The limits: the same synapses T times in a bare `tf.while_loop`, without and with neurons.

Kernels and input spikes are arguments of the function, so that nothing can be folded into a
constant, and the layers feed one another from step to step, so that nothing can leave the loop.
In bfloat16 the kernels are cast once, before the loop.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from benchmarks import networks, tf_step
from benchmarks.networks import BETA, POOL_THRESHOLD, THRESHOLD, Network


def synapse(x: tf.Tensor, kernel: tf.Tensor | None) -> tf.Tensor:
    """Convolution, fully connected layer, or (without a kernel) 2x2 average pooling."""
    if kernel is None:
        return tf.nn.avg_pool2d(x, 2, 2, "VALID")
    if kernel.shape.rank == 4:
        return tf.nn.conv2d(x, kernel, 1, "SAME")
    return tf.matmul(tf.reshape(x, (x.shape[0], kernel.shape[0])), kernel)


def run_synapses(spikes: tf.Tensor, kernels: list[tf.Tensor | None]) -> tf.Tensor:
    """The layers alone, T times; outputs are summed so that they are not optimised away."""

    def step(t: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = tf.cast(spikes[t], total.dtype)
        for kernel in kernels:
            x = synapse(x, kernel)
        return t + 1, total + x

    num_steps, batch = spikes.shape[:2]
    start = tf.zeros((batch, networks.CLASSES), kernels[-1].dtype)
    return tf.while_loop(lambda t, _: t < num_steps, step, (0, start))[1]


def run_spiking(spikes: tf.Tensor, kernels: list[tf.Tensor | None]) -> tf.Tensor:
    """The same with add, compare, reset and leak after each layer; potentials are float32."""
    dtype = kernels[-1].dtype
    num_steps, batch = spikes.shape[:2]

    def step(t: tf.Tensor, potentials: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        x = tf.cast(spikes[t], dtype)
        after = []
        for potential, kernel in zip(potentials, kernels, strict=True):
            potential = potential + tf.cast(synapse(x, kernel), tf.float32)
            if len(after) == len(kernels) - 1:
                after.append(BETA * potential)
                break
            fired = potential > (POOL_THRESHOLD if kernel is None else THRESHOLD)
            leaked = potential if kernel is None else BETA * potential
            after.append(tf.where(fired, 0.0, leaked))
            x = tf.cast(fired, dtype)
        return t + 1, after

    x, start = tf.zeros((batch, *spikes.shape[2:]), dtype), []
    for kernel in kernels:
        x = synapse(x, kernel)
        start.append(tf.zeros(x.shape))
    return tf.while_loop(lambda t, _: t < num_steps, step, (0, start))[1][-1]


def build(
    network: Network,
    num_steps: int,
    batch: int,
    mode: str,
    spiking: bool = False,
    bf16: bool = False,
) -> Callable[[], float]:
    """The forward pass to be timed; spikes of all steps are given, time first."""
    shapes = network.kernel_shapes()
    run = run_spiking if spiking else run_synapses

    @tf.function
    def forward(spikes: tf.Tensor, *weights: tf.Tensor) -> tf.Tensor:
        queue = [tf.cast(w, tf.bfloat16) for w in weights] if bf16 else list(weights)
        kernels = [None if shape is None else queue.pop(0) for shape in shapes]
        return tf.cast(run(spikes, kernels), tf.float32)

    spikes = tf_step.spikes(network, num_steps, batch)
    spikes = tf.transpose(spikes, (1, 0, 2, 3, 4))
    weights = [tf.constant(w) for w in networks.weights(network) if w is not None]
    return lambda: float(np.sum(forward(spikes, *weights)))
