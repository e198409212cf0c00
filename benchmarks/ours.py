"""keras_spiking_bp: the networks built from cells, trained by the compiled model's own step."""

from __future__ import annotations

from collections.abc import Callable

import keras

import keras_spiking_bp as ksbp
from benchmarks import networks, tf_step
from benchmarks.networks import BETA, POOL_THRESHOLD, THRESHOLD, Conv, Network, Pool
from benchmarks.registry import INFER_SPIKES


def cell_of(network: Network, bf16: bool = False) -> ksbp.SequentialCell:
    """One time step of the network; `bf16` computes the synapses, not the neurons, in bfloat16."""
    dtype = "mixed_bfloat16" if bf16 else "float32"
    cells: list[keras.layers.Layer] = []
    flat = False
    for layer in network.layers:
        if isinstance(layer, Pool):
            pooling = keras.layers.AveragePooling2D(2, dtype=dtype)
            cells.append(ksbp.PoolingCell(pooling, threshold=POOL_THRESHOLD))
            continue
        shared = {
            "use_bias": False,
            "dtype": dtype,
        }
        if isinstance(layer, Conv):
            synapse = keras.layers.Conv2D(layer.filters, layer.kernel, padding="same", **shared)
        else:
            if not flat:
                cells.append(keras.layers.Flatten())
            flat = True
            synapse = keras.layers.Dense(layer.units, **shared)
        if layer is network.layers[-1]:
            cells.append(ksbp.ReadoutCell(synapse))
        else:
            cells.append(ksbp.LIFCell(synapse, beta=BETA, threshold=THRESHOLD))
    return ksbp.SequentialCell(cells)


def load(model: keras.Model, network: Network) -> None:
    """Set the weights that every implementation starts from."""
    kernels = [kernel for kernel in networks.weights(network) if kernel is not None]
    for variable, kernel in zip(model.trainable_variables, kernels, strict=True):
        variable.assign(kernel)


def build(
    network: Network,
    num_steps: int,
    batch: int,
    mode: str,
    gradient: str = "accumulated",
    bf16: bool = False,
    kernels: bool = False,
) -> Callable[[], float]:
    """The step to be timed."""
    ksbp.kernels.enable(kernels)  # whatever the environment says
    if mode == INFER_SPIKES:
        x = keras.Input((num_steps, *network.input_shape), dtype="int8")
        spikes = x
    else:
        x = keras.Input(network.input_shape)
        spikes = ksbp.PoissonEncoder(num_steps=num_steps)(x)
    outputs = ksbp.SpikingRNN(cell_of(network, bf16), gradient=gradient)(spikes)
    model = keras.Model(x, outputs)
    load(model, network)
    optimizer = keras.optimizers.SGD(networks.LEARNING_RATE)
    model.compile(optimizer, loss=ksbp.losses.SumSquaredError())
    return tf_step.step_of(model, network, num_steps, batch, mode)
