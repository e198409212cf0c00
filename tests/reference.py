"""An independent simulation of spiking networks and of both gradients: NumPy, double precision, nothing else.

A network is data, in the format of tests/golden/fixtures.json: nodes in order, each with `name`, `kind` ("LIF",
"IF ..." or "readout ..."), `threshold` and `inputs`, a list of `{"source": node or "in", "synapse": [...]}` with a
synapse `["dense", weight]`, `["conv", weight, stride, padding]` (symmetric zero padding) or
`["avg", pool_size, stride]`; and `beta` for all LIF nodes and the readout.
"""

from __future__ import annotations

import numpy as np


def _pad(x, padding):
    return np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))


def forward(synapse, weights, x):
    kind = synapse[0]
    if kind == "dense":
        return x.reshape(len(x), -1) @ weights[synapse[1]]
    if kind == "conv":
        _, name, stride, padding = synapse
        kernel, x = weights[name], _pad(x, padding)
        k = kernel.shape[0]
        h, w = ((n - k) // stride + 1 for n in x.shape[1:3])
        out = np.zeros((len(x), h, w, kernel.shape[3]))
        for i in range(k):
            for j in range(k):
                out += x[:, i : i + h * stride : stride, j : j + w * stride : stride] @ kernel[i, j]
        return out
    _, size, stride = synapse
    h, w = ((n - size) // stride + 1 for n in x.shape[1:3])
    out = np.zeros((len(x), h, w, x.shape[3]))
    for i in range(size):
        for j in range(size):
            out += x[:, i : i + h * stride : stride, j : j + w * stride : stride] / size**2
    return out


def backward(synapse, weights, x, g):
    """(gradient to x, gradient to the weight or None), for gradient g at the output."""
    kind = synapse[0]
    if kind == "dense":
        flat = x.reshape(len(x), -1)
        return (g @ weights[synapse[1]].T).reshape(x.shape), flat.T @ g
    if kind == "conv":
        _, name, stride, padding = synapse
        kernel, padded = weights[name], _pad(x, padding)
        gx, gk = np.zeros(padded.shape), np.zeros(kernel.shape)
        h, w = g.shape[1:3]
        for i in range(kernel.shape[0]):
            for j in range(kernel.shape[1]):
                rows, columns = slice(i, i + h * stride, stride), slice(j, j + w * stride, stride)
                gx[:, rows, columns] += g @ kernel[i, j].T
                gk[i, j] = np.einsum("bhwc,bhwd->cd", padded[:, rows, columns], g)
        inner = slice(padding, -padding) if padding else slice(None)
        return gx[:, inner, inner], gk
    _, size, stride = synapse
    gx = np.zeros(x.shape)
    h, w = g.shape[1:3]
    for i in range(size):
        for j in range(size):
            gx[:, i : i + h * stride : stride, j : j + w * stride : stride] += g / size**2
    return gx, None


class Simulation:
    """Runs a network over `inputs` (B, T, ...) and keeps everything.

    `margin` is how near a LIF neuron came to its threshold.

    `keep` maps node names to dropout masks (B, ...), `reset` is "zero" or "subtract".
    """

    def __init__(self, network, weights, inputs, keep=None, reset="zero"):
        self.nodes, self.beta = network["nodes"], network["beta"]
        self.weights = {k: np.asarray(w, "float64") for k, w in weights.items()}
        self.reset, self.keep = reset, keep or {}
        inputs = np.asarray(inputs, "float64")
        self.num_steps = inputs.shape[1]
        self.signal = {"in": inputs}  # what each node sends, (B, T, ...)
        self.spikes, self.membranes, self.margin = {}, {}, np.inf
        potentials = {}
        for node in self.nodes:
            potentials[node["name"]] = 0.0
            self.spikes[node["name"]], self.membranes[node["name"]] = [], []
        for t in range(self.num_steps):
            now = {"in": inputs[:, t]}
            for node in self.nodes:
                name = node["name"]
                v = potentials[name] + sum(
                    forward(i["synapse"], self.weights, now[i["source"]]) for i in node["inputs"]
                )
                if self._is_readout(node):
                    v = self.beta * v
                    s = np.zeros_like(v)
                else:
                    s = (v > node["threshold"]).astype("float64")
                    if node["kind"] == "LIF":  # quarters of spikes, without leak, are exact in any precision
                        self.margin = min(self.margin, np.abs(v - node["threshold"]).min())
                    v = v * (1 - s) if reset == "zero" else v - node["threshold"] * s
                    v = self._beta_of(node) * v
                potentials[name] = v
                self.spikes[name].append(s)
                self.membranes[name].append(v)
                now[name] = s * self.keep.get(name, 1.0)
        for name in self.spikes:
            self.spikes[name] = np.stack(self.spikes[name], 1)
            self.membranes[name] = np.stack(self.membranes[name], 1)
            keep = self.keep.get(name, np.ones(()))
            self.signal[name] = self.spikes[name] * (keep[:, None] if keep.ndim else keep)
        self.outputs = self.membranes[self.nodes[-1]["name"]][:, -1] / self.num_steps

    @staticmethod
    def _is_readout(node):
        return node["kind"].startswith("readout")

    def _beta_of(self, node):
        return self.beta if node["kind"] == "LIF" else 1.0

    def spike_count(self, name):
        return self.spikes[name].sum(1)

    def leaky_trace(self, name, beta):
        powers = beta ** np.arange(self.num_steps - 1, -1, -1)
        return np.tensordot(powers, np.moveaxis(self.spikes[name], 1, 0), 1)

    def last_spike(self, name):
        times = np.arange(1, self.num_steps + 1).reshape(1, -1, *[1] * (self.spikes[name].ndim - 2))
        return (self.spikes[name] * times).max(1)

    def leak_correction(self, node):
        count, beta = self.spike_count(node["name"]), self._beta_of(node)
        return (count > 0) + np.log(beta) * self.leaky_trace(node["name"], beta) / np.maximum(count, 1)

    def _scale(self, node):
        return 1 / node["threshold"] if node["kind"] == "LIF" else 1.0

    def _add(self, gradients, synapse, g):
        if g is not None:
            gradients[synapse[1]] = gradients.get(synapse[1], 0.0) + g

    def grad_bptt(self, g_outputs):
        """Weight gradients by the authors' rule, from the gradient at the outputs."""
        gradients = {}
        g_membrane = {n["name"]: np.zeros_like(self.membranes[n["name"]][:, 0]) for n in self.nodes}
        g_membrane[self.nodes[-1]["name"]] += g_outputs / self.num_steps
        corrections = {n["name"]: self.leak_correction(n) for n in self.nodes if not self._is_readout(n)}
        for t in reversed(range(self.num_steps)):
            g_signal = {name: np.zeros_like(s[:, 0]) for name, s in self.signal.items()}
            for node in reversed(self.nodes):
                name, g = node["name"], g_membrane[node["name"]]
                if not self._is_readout(node):
                    s = self.spikes[name][:, t]
                    g_spikes = g_signal[name] * self.keep.get(name, 1.0)
                    g = g * (1 - s) if self.reset == "zero" else g
                    g = g + g_spikes * s * corrections[name] * self._scale(node)
                g_membrane[name] = g
                for i in node["inputs"]:
                    gx, gw = backward(i["synapse"], self.weights, self.signal[i["source"]][:, t], g)
                    g_signal[i["source"]] += gx
                    self._add(gradients, i["synapse"], gw)
        return gradients

    def grad_bounded(self, g_outputs):
        """As `grad_accumulated`, but nothing passes a neuron that fired at every step."""
        return self.grad_accumulated(g_outputs, bounded=True)

    def grad_accumulated(self, g_outputs, bounded=False):
        """Weight gradients by the chain rule on totals, from the gradient at the outputs."""
        gradients = {}
        g_total = {name: np.zeros_like(s[:, 0]) for name, s in self.signal.items()}
        for node in reversed(self.nodes):
            name = node["name"]
            if self._is_readout(node):
                g = g_outputs / self.num_steps
            else:
                g = g_total[name] * self.keep.get(name, 1.0) * self.leak_correction(node) * self._scale(node)
                if self.reset == "zero":
                    g = g * self.last_spike(name) / self.num_steps
                if bounded:
                    g = g * (self.spike_count(name) != self.num_steps)
            for i in node["inputs"]:
                gx, gw = backward(i["synapse"], self.weights, self.signal[i["source"]].sum(1), g)
                g_total[i["source"]] += gx
                self._add(gradients, i["synapse"], gw)
        return gradients
