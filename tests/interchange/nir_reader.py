"""An independent reader of NIR graphs: NumPy, double precision, the equations of NIR by Euler steps; nothing of ours.

LIF, LI   v <- v + dt / tau * (v_leak - v + r I)        IF, I   v <- v + dt r I
LIF, IF   spike where v > v_threshold, then v <- v_reset
"""

from __future__ import annotations

import numpy as np


def run(graph, inputs, dt):
    """What each node sends at each step, by name, (B, T, ...), for `inputs` (B, T, ...) with channels first."""
    order = _in_order(graph)
    potentials = {}
    sent = {name: [] for name in order}
    for t in range(inputs.shape[1]):
        now = {}
        for name in order:
            node = graph.nodes[name]
            sources = [now[a] for a, b in graph.edges if b == name]
            x = sum(sources) if sources else np.asarray(inputs[:, t], "float64")
            now[name] = _step(name, node, x, potentials, dt)
            sent[name].append(now[name])
    return {name: np.stack(values, 1) for name, values in sent.items()}


def _in_order(graph):
    """The nodes, each after its sources."""
    order = []
    while len(order) < len(graph.nodes):
        ready = [
            name for name in graph.nodes if name not in order and all(a in order for a, b in graph.edges if b == name)
        ]
        assert ready, "a cycle"
        order += ready
    return order


def _step(name, node, x, potentials, dt):
    kind = type(node).__name__
    if kind in ("Input", "Output"):
        return x
    if kind == "Linear":
        return x @ np.asarray(node.weight, "float64").T
    if kind == "Affine":
        return x @ np.asarray(node.weight, "float64").T + node.bias
    if kind == "Flatten":
        assert node.start_dim == 0 and node.end_dim in (-1, x.ndim - 2)
        return x.reshape(len(x), -1)
    if kind == "Conv2d":
        return _conv(np.asarray(node.weight, "float64"), node, x) + np.asarray(node.bias)[:, None, None]
    if kind == "AvgPool2d":
        return _pool(node, x)
    v = potentials.get(name, 0.0)
    if kind in ("LIF", "LI"):
        v = v + dt / np.asarray(node.tau, "float64") * (node.v_leak - v + node.r * x)
    elif kind in ("IF", "I"):
        v = v + dt * np.asarray(node.r, "float64") * x
    else:
        raise AssertionError(kind)
    if kind in ("LI", "I"):
        potentials[name] = v
        return v
    spikes = v > node.v_threshold
    potentials[name] = np.where(spikes, node.v_reset, v)
    return spikes.astype("float64")


def _windows(x, size, stride, dilation=(1, 1)):
    """(B, C, H, W) as windows (B, C, h, w, kernel height, kernel width)."""
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, size, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(2, 3))
    return windows[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def _conv(weight, node, x):
    size = weight.shape[2:]
    if node.padding == "same":
        total = [d * (k - 1) for d, k in zip(node.dilation, size, strict=True)]
        sides = [(n // 2, n - n // 2) for n in total]
    else:
        sides = [(n, n) for n in node.padding]
    x = np.pad(x, ((0, 0), (0, 0), *sides))
    return np.einsum("bchwij,ocij->bohw", _windows(x, size, node.stride, node.dilation), weight)


def _pool(node, x):
    assert not np.any(node.padding)
    return _windows(x, tuple(node.kernel_size), tuple(node.stride)).mean((-2, -1))
