"""An independent simulation of spiking networks and of all their gradients: NumPy, double precision, nothing else.

A network is data, in the format of tests/golden/fixtures.json: nodes in order, each with `name`, `kind` ("LIF",
"IF ..." or "readout ..."), `threshold` and `inputs`, a list of `{"source": node or "in", "synapse": [...]}` with a
synapse `["dense", weight]`, `["conv", weight, stride, padding]` (symmetric zero padding) or
`["avg", pool_size, stride]`; and `beta` for all LIF nodes and the readout. A network may also end in spikes. An input
whose source is the node itself brings the spikes of the step before. With `synaptic_beta` in the network, LIF nodes
have a synaptic current with this decay.
"""

from __future__ import annotations

import numpy as np

SURROGATES = {  # by name, of u = potential - threshold and their argument
    "triangle": lambda u, width: np.maximum(0, 1 - np.abs(u) / width) / width,
    "atan": lambda u, alpha: alpha / 2 / (1 + (np.pi / 2 * alpha * u) ** 2),
    "sigmoid": lambda u, slope: slope / (np.exp(slope * u / 2) + np.exp(-slope * u / 2)) ** 2,
    "fast_sigmoid": lambda u, slope: (1 + slope * np.abs(u)) ** -2,
}


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

    `margin` is how near a LIF neuron came to its threshold, or the charge that it got to 0 without being 0.

    `keep` maps node names to dropout masks (B, ...), `reset` is "zero" or "subtract", `surrogate` a function of
    potential - threshold (None: the paper's derivative), `start` the share of the threshold at which potentials start,
    or the potentials by the name of the node; `signed` neurons take spikes back.
    """

    def __init__(
        self, network, weights, inputs, keep=None, reset="zero", surrogate=None, start=0.0, readout_leak=False,
        signed=False,
    ):  # fmt: skip
        self.nodes, self.beta, self.synaptic_beta = network["nodes"], network["beta"], network.get("synaptic_beta", 0.0)
        self.weights = {k: np.asarray(w, "float64") for k, w in weights.items()}
        self.reset, self.keep, self.surrogate, self.readout_leak = reset, keep or {}, surrogate, readout_leak
        inputs = np.asarray(inputs, "float64")
        self.num_steps = inputs.shape[1]
        self.signal = {"in": inputs}  # what each node sends, (B, T, ...)
        self.spikes, self.membranes, self.potentials, self.margin = {}, {}, {}, np.inf  # before and after the reset
        membranes, currents, before = {}, {}, {}
        for node in self.nodes:
            name = node["name"]
            if isinstance(start, dict):
                membranes[name] = start[name]
            else:
                membranes[name] = 0.0 if self._is_readout(node) else start * node["threshold"]
            self.spikes[name], self.membranes[name], self.potentials[name] = [], [], []
        for t in range(self.num_steps):
            now = {"in": inputs[:, t]}
            for node in self.nodes:
                name = node["name"]
                current = sum(
                    forward(i["synapse"], self.weights, before[name] if i["source"] == name else now[i["source"]])
                    for i in node["inputs"]
                    if i["source"] != name or t > 0
                )
                current = currents[name] = self._synaptic_beta_of(node) * currents.get(name, 0.0) + current
                v = membranes[name] + current
                self.potentials[name].append(v)
                if self._is_readout(node):
                    v = self.beta * v
                    s = np.zeros_like(v)
                else:
                    s = (v > node["threshold"]).astype("float64")
                    if node["kind"] == "LIF":  # quarters of spikes, without leak, are exact in any precision
                        self.margin = min(self.margin, np.abs(v - node["threshold"]).min())
                    if signed:
                        net_count = sum(self.spikes[name], np.zeros_like(v))
                        self.margin = min(self.margin, np.abs(v[net_count > 0]).min(initial=np.inf))
                        s = s - ((v < 0) & (net_count > 0))
                    v = v * (1 - s) if reset == "zero" else v - node["threshold"] * s
                    v = self._beta_of(node) * v
                membranes[name] = v
                self.spikes[name].append(s)
                self.membranes[name].append(v)
                now[name] = before[name] = s * self.keep.get(name, 1.0)
        for name in self.spikes:
            self.spikes[name] = np.stack(self.spikes[name], 1)
            self.membranes[name] = np.stack(self.membranes[name], 1)
            self.potentials[name] = np.stack(self.potentials[name], 1)
            keep = self.keep.get(name, np.ones(()))
            self.signal[name] = self.spikes[name] * (keep[:, None] if keep.ndim else keep)
        for node in self.nodes:
            if node["kind"] == "LIF":
                charge = np.abs(self.charge(node))
                self.margin = min(self.margin, charge[charge > 0].min(initial=np.inf))
        last = self.nodes[-1]
        if self._is_readout(last):
            steps = np.arange(1, self.num_steps + 1).reshape(1, -1, 1)
            self.outputs_of_steps = self.membranes[last["name"]] / steps
            self.outputs = self.outputs_of_steps[:, -1]
        else:
            self.outputs_of_steps = self.signal[last["name"]]
            self.outputs = self.outputs_of_steps.mean(1)

    @staticmethod
    def _is_readout(node):
        return node["kind"].startswith("readout")

    def _beta_of(self, node):
        return self.beta if node["kind"] == "LIF" else 1.0

    def _synaptic_beta_of(self, node):
        return self.synaptic_beta if node["kind"] == "LIF" else 0.0

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

    # --- step by step ------------------------------------------------------------------------------------------------

    def grad_bptt(self, g_outputs):
        """Weight gradients step by step: by the authors' rule, or with the surrogate.

        `g_outputs` is the gradient at `outputs` (B, ...) or at `outputs_of_steps` (B, T, ...).
        """
        gradients = {}
        g_membrane = {n["name"]: np.zeros_like(self.membranes[n["name"]][:, 0]) for n in self.nodes}
        g_current, g_fed_back = dict(g_membrane), {}
        sent = self._gradient_at_each_step(g_outputs)
        for t in reversed(range(self.num_steps)):
            g_signal = {name: np.zeros_like(s[:, 0]) for name, s in self.signal.items()}
            g_signal[self.nodes[-1]["name"]] += sent[:, t]
            for name, g in g_fed_back.items():
                g_signal[name] += g
            for node in reversed(self.nodes):
                name = node["name"]
                if self._is_readout(node):
                    g = g_membrane[name] + g_signal[name]
                    g = self.beta * g if self.readout_leak else g
                else:
                    g = self._through_step(node, t, g_signal[name] * self.keep.get(name, 1.0), g_membrane[name])
                g_membrane[name] = g
                g = g_current[name] = g + self._synaptic_beta_of(node) * g_current[name]
                for i in node["inputs"]:
                    back = i["source"] == name
                    if back and t == 0:
                        continue
                    gx, gw = backward(i["synapse"], self.weights, self.signal[i["source"]][:, t - back], g)
                    if back:
                        g_fed_back[name] = gx
                    else:
                        g_signal[i["source"]] += gx
                    self._add(gradients, i["synapse"], gw)
        return gradients

    def _gradient_at_each_step(self, g_outputs):
        """At the potential of a readout after each step, or at the spikes of each step."""
        steps = np.arange(1, self.num_steps + 1)
        readout, each_step = self._is_readout(self.nodes[-1]), g_outputs.ndim == self.outputs.ndim + 1
        if not each_step:  # V[T] / T, or the mean of the spikes
            share = (steps == self.num_steps) / self.num_steps if readout else np.full(len(steps), 1 / self.num_steps)
            g_outputs = g_outputs[:, None]
        else:  # V[t] / t, or the spikes
            share = 1 / steps if readout else np.ones(len(steps))
        return g_outputs * share.reshape(1, -1, *[1] * (g_outputs.ndim - 2))

    def _through_step(self, node, t, g_spikes, g_membrane):
        """From the spikes of step t and the potential after it, to the potential before it, and to the current."""
        name = node["name"]
        s = np.abs(self.spikes[name][:, t])
        through_reset = 1 - s if self.reset == "zero" or self.surrogate is None else 1.0
        if self.surrogate is None:  # the leak counts as 1
            return g_membrane * through_reset + g_spikes * s * self.leak_correction(node) * self._scale(node)
        slope = self.surrogate(self.potentials[name][:, t] - node["threshold"])
        return g_membrane * self._beta_of(node) * through_reset + g_spikes * slope

    # --- on totals ---------------------------------------------------------------------------------------------------

    def grad_accumulated(self, g_outputs):
        """Weight gradients by the chain rule on totals: the paper's, or with the mean slope of the surrogate."""
        return self._on_totals(g_outputs, self._slope_of_paper if self.surrogate is None else self._mean_slope)

    def grad_bounded(self, g_outputs):
        """Weight gradients by the chain rule on totals, of counts between their bounds, or as `grad_accumulated`."""
        return self._on_totals(g_outputs, self._slope_in_bounds if self.surrogate is None else self._mean_slope)

    def _on_totals(self, g_outputs, slope):
        gradients = {}
        g_total = {name: np.zeros_like(s[:, 0]) for name, s in self.signal.items()}
        if g_outputs.ndim == self.outputs.ndim + 1:  # its mean over time; a total is T times as large as a mean
            readout = self._is_readout(self.nodes[-1])
            g_outputs = g_outputs.sum(1) if readout else g_outputs.mean(1) * self.num_steps
        g_total[self.nodes[-1]["name"]] += g_outputs / self.num_steps
        for node in reversed(self.nodes):
            name = node["name"]
            if self._is_readout(node):
                g = g_total[name] * (self._mean_leak() if self.readout_leak else 1.0)
            else:
                g = g_total[name] * self.keep.get(name, 1.0) * slope(node)
            for i in node["inputs"]:
                gx, gw = backward(i["synapse"], self.weights, self.signal[i["source"]].sum(1), g)
                g_total[i["source"]] += gx
                self._add(gradients, i["synapse"], gw)
        return gradients

    def _gain(self, node, end):
        """What units of current, one in each step up to `end`, add to the potential until then."""
        return sum(self._synaptic_beta_of(node) ** k for t in range(1, end + 1) for k in range(end - t + 1))

    def _mean_leak(self):
        return np.mean([self.beta ** (self.num_steps - t + 1) for t in range(1, self.num_steps + 1)])

    def _slope_of_paper(self, node):
        slope = self.leak_correction(node) * self._scale(node)
        if self.reset != "zero":
            return slope * self._gain(node, self.num_steps) / self.num_steps
        gains = np.array([self._gain(node, end) for end in range(self.num_steps + 1)])
        return slope * gains[self.last_spike(node["name"]).astype(int)] / self.num_steps

    def _slope_in_bounds(self, node):
        return self.between_bounds(node) * self._scale(node) * self._gain(node, self.num_steps) / self.num_steps

    def between_bounds(self, node):
        """Whether a count is: it did not fire at every step, and the charge that came in is positive."""
        return (self.charge(node) > 0) & (self.spike_count(node["name"]) < self.num_steps)

    def charge(self, node):
        """What is left of the charge that came in, in the potential and in the spikes."""
        return self.membranes[node["name"]][:, -1] + node["threshold"] * self.spike_count(node["name"])

    def _mean_slope(self, node):
        """The mean over time of `surrogate(u[t]) * e[t]` (arXiv 2410.11488)."""
        name = node["name"]
        total, e, lost, drive = 0.0, 0.0, 0.0, 0.0
        for t in range(self.num_steps):
            slope = self.surrogate(self.potentials[name][:, t] - node["threshold"])
            drive = self._synaptic_beta_of(node) * drive + 1
            e = drive + self._beta_of(node) * e * (1 - lost)
            lost = np.minimum(node["threshold"] * slope, 1.0)
            if self.reset == "zero":
                lost = lost + self.spikes[name][:, t]
            total = total + slope * e
        return total / self.num_steps
