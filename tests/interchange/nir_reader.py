"""An independent reader of NIR graphs: NumPy, double precision, the equations of NIR by Euler steps; nothing of ours.

LIF, LI   v <- v + dt / tau * (v_leak - v + r I)        IF, I   v <- v + dt r I
CubaLIF   I <- I + dt / tau_syn * (w_in S - I), then as LIF with tau_mem
LIF, IF, CubaLIF   spike where v > v_threshold, then v <- v_reset, or v <- v - v_threshold
Edges in `back` bring what their source sent in the step before.
"""

from __future__ import annotations

import numpy as np


def run(graph, inputs, dt, back=(), reset="zero"):
    """What each node sends at each step, by name, (B, T, ...), for `inputs` (B, T, ...) with channels first."""
    order = _in_order(graph, back)
    potentials = {}
    sent = {name: [] for name in order}
    for t in range(inputs.shape[1]):
        now = {}
        for name in order:
            node = graph.nodes[name]
            sources = [now[a] for a, b in graph.edges if b == name and (a, b) not in back]
            before = [a for a, b in graph.edges if (a, b) in back and b == name]
            sources += [
                sent[a][-1] if t else np.zeros((len(inputs), *graph.nodes[a].v_threshold.shape)) for a in before
            ]
            x = sum(sources) if sources else np.asarray(inputs[:, t], "float64")
            now[name] = _step(name, node, x, potentials, dt, reset)
            sent[name].append(now[name])
    return {name: np.stack(values, 1) for name, values in sent.items()}


def _in_order(graph, back):
    """The nodes, each after its sources in the same step."""
    edges = [edge for edge in graph.edges if edge not in back]
    order = []
    while len(order) < len(graph.nodes):
        ready = [name for name in graph.nodes if name not in order and all(a in order for a, b in edges if b == name)]
        assert ready, "a cycle"
        order += ready
    return order


def _step(name, node, x, potentials, dt, reset):
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
    if kind == "Conv1d":
        return _conv1d(node, x)
    if kind == "Threshold":
        return (x > node.threshold).astype("float64")
    if kind == "AvgPool2d":
        return _pool(node, x)
    if kind == "SumPool2d":
        return _windows(x, tuple(node.kernel_size), tuple(node.stride)).sum((-2, -1))
    if kind == "Scale":
        return x * np.asarray(node.scale, "float64")
    v = potentials.get(name, 0.0)
    if kind == "CubaLIF":
        i = potentials.get((name, "I"), 0.0)
        x = i + dt / np.asarray(node.tau_syn, "float64") * (node.w_in * x - i)
        potentials[name, "I"] = x
        v = v + dt / np.asarray(node.tau_mem, "float64") * (node.v_leak - v + node.r * x)
    elif kind in ("LIF", "LI"):
        v = v + dt / np.asarray(node.tau, "float64") * (node.v_leak - v + node.r * x)
    elif kind in ("IF", "I"):
        v = v + dt * np.asarray(node.r, "float64") * x
    else:
        raise AssertionError(kind)
    if kind in ("LI", "I"):
        potentials[name] = v
        return v
    spikes = v > node.v_threshold
    potentials[name] = np.where(spikes, node.v_reset if reset == "zero" else v - node.v_threshold, v)
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


def _conv1d(node, x):
    """By the sum over taps."""
    weight, taps = np.asarray(node.weight, "float64"), node.weight.shape[-1]
    reach = node.dilation * (taps - 1)
    before = {"valid": 0, "same": reach // 2}.get(node.padding, node.padding)
    after = {"valid": 0, "same": reach - reach // 2}.get(node.padding, node.padding)
    x = np.pad(x, ((0, 0), (0, 0), (before, after)))
    last = x.shape[-1] - reach
    tap = [x[..., k * node.dilation : k * node.dilation + last : node.stride] for k in range(taps)]
    return sum(np.einsum("bcl,oc->bol", part, weight[..., k]) for k, part in enumerate(tap)) + node.bias[:, None]


def _pool(node, x):
    assert not np.any(node.padding)
    return _windows(x, tuple(node.kernel_size), tuple(node.stride)).mean((-2, -1))
