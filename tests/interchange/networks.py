"""Networks for NIR: sums of their weights are exact in any order, and no potential meets a threshold."""

from __future__ import annotations

import keras
import numpy as np

import keras_spiking_bp as ksbp


def conv(filters, size=3, **kwargs):
    kwargs = {"padding": "same", "use_bias": False} | kwargs
    return keras.layers.Conv2D(filters, size, **kwargs)


def dense(units, use_bias=False):
    return keras.layers.Dense(units, use_bias=use_bias)


def strided(filters):
    return keras.Sequential([keras.layers.ZeroPadding2D(1), conv(filters, strides=2, padding="valid")])


def lif(synapse, beta=0.9, name=None, **kwargs):
    return ksbp.LIFCell(synapse, beta=beta, threshold=1.0123457, name=name, **kwargs)


def pool(name=None):
    return ksbp.PoolingCell(keras.layers.AveragePooling2D(2), threshold=0.7, name=name)


NETWORKS = {  # shape of a step, cells; all end in spikes
    "dense": ((20,), lambda: [lif(dense(40), 0.99, "a"), lif(dense(30, True), 0.95, "b"), lif(dense(10), 0.8, "c")]),
    "conv": (
        (7, 6, 2),
        lambda: [lif(conv(6), 0.99, "a"), lif(strided(8), name="b"), keras.layers.Flatten(), lif(dense(10), name="c")],
    ),
    "residual": (
        (12, 8, 2),
        lambda: [
            lif(conv(6), 0.99, "stem"),
            pool("pool"),
            ksbp.ResidualCell(lif(conv(6), name="a1"), lif(conv(6), name="a2")),
            ksbp.ResidualCell(lif(conv(8), name="b1"), lif(strided(8), name="b2"), conv(8, 1, strides=2)),
            keras.layers.Flatten(),
            lif(dense(10), name="fc"),
        ],
    ),
    "sums of spikes": (
        (8, 8, 2),
        lambda: [
            ksbp.GraphCell(
                [
                    (lif(conv(6), 0.99, "stem"), "input"),
                    (lif(conv(6), name="a1"), "stem"),
                    (lif(conv(6), name="a2"), "a1"),
                    (keras.layers.Add(name="a"), ["a2", "stem"]),
                    (lif(conv(6), name="b1"), "a"),
                    (lif(conv(6), name="b2"), "b1"),
                    (keras.layers.Add(name="b"), ["b2", "a"]),
                    (lif(strided(8), name="c"), "b"),
                ]
            ),
            keras.layers.Flatten(),
            lif(dense(10), name="fc"),
        ],
    ),
}


def network(name):
    """A built layer that gives the spikes of each step, and its input spikes (B, T, ...)."""
    shape, cells = NETWORKS[name]
    return built(cells(), shape)


def built(cells, shape, samples=4, num_steps=40):
    rng = np.random.default_rng(0)
    layer = ksbp.SpikingRNN(ksbp.SequentialCell(cells), return_sequences=True)
    layer.build((None, None, *shape))
    for weight in layer.trainable_weights:
        fan_in = np.prod(weight.shape[:-1])
        weight.assign(np.round(rng.normal(0.3, 2, weight.shape) * 64 / np.sqrt(fan_in)) / 64)
    return layer, (rng.random((samples, num_steps, *shape)) < 0.3).astype("float32")


def channels_first(x):
    """(B, T, H, W, C) as (B, T, C, H, W); (B, T, N) as it is."""
    return np.ascontiguousarray(np.moveaxis(x, -1, 2))


def every_step(model):
    """The layer of `from_nir(graph)` that gives the spikes of each step."""
    return ksbp.SpikingRNN(model.layers[-1].cell, return_sequences=True)
