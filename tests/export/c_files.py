"""The files of `export_c`: compiled, run, and computed once more in NumPy."""

import ctypes
import functools
import re
import shutil
import subprocess
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from keras_spiking_bp.encoders import ConstantEncoder
from keras_spiking_bp.export import c
from keras_spiking_bp.export.c_paths import INPUT
from keras_spiking_bp.export.forms import Network, step_form
from keras_spiking_bp.rnn.spiking_model import encoder_of

STRICT = ("-Os", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")


def needs(*programs):
    """Skips a test where one is not there."""
    missing = [program for program in programs if not shutil.which(program)]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} is not there")


class Code:
    """A network in C, compiled; `memory` is what `export_c` returns."""

    def __init__(self, model, folder, weights):
        self.folder, self.constant = folder, isinstance(encoder_of(model)[0], ConstantEncoder)
        with mock.patch.object(c, "weights_file", wraps=c.weights_file) as written:
            self.memory = c.export_c(model, folder, weights)
        self.plan, self.numbers, _ = written.call_args.args
        defined = re.findall(r"#define NETWORK_(\w+) (\d+)", (self.folder / "network.h").read_text())
        self.sizes = {name: int(value) for name, value in defined}

    def compiled(self, name, *sources, compiler="cc", flags=()):
        """A program or library of the files, and of other sources in the folder."""
        command = [compiler, *STRICT, *flags, "network.c", "weights.c", *sources, "-o", name]
        subprocess.run(command, cwd=self.folder, check=True)
        return self.folder / name

    @functools.cached_property
    def library(self):
        (self.folder / "size.c").write_text('#include "network.h"\nunsigned size(void) { return sizeof(Network); }\n')
        library = ctypes.CDLL(str(self.compiled("network.so", "size.c", flags=("-shared", "-fPIC"))))
        assert library.size() == self.memory["ram"]
        library.network_output.restype = ctypes.c_float
        return library

    def by_library(self, inputs):
        """The outputs of each step (T, outputs) and its spikes (T,), from the inputs (T, ...) of one sample."""
        library, number = self.library, self.sizes["OUTPUTS"]
        states = ctypes.create_string_buffer(self.memory["ram"])
        library.network_reset(states)
        outputs, fired = np.zeros((len(inputs), number), "float32"), []
        for step, now in enumerate(np.ascontiguousarray(inputs, "float32")):
            again = self.constant and step > 0
            fired.append(library.network_step(states, None if again else now.ctypes.data_as(ctypes.c_void_p)))
            outputs[step] = [library.network_output(states, i) for i in range(number)]
        return outputs, np.array(fired)


def printed(program, inputs, *arguments):
    """What the example prints (T, outputs), from its standard input."""
    raw = np.asarray(inputs, "float32").tobytes()
    done = subprocess.run([*map(str, program), *arguments], input=raw, stdout=subprocess.PIPE, check=True)
    return np.array([line.split() for line in done.stdout.decode().splitlines()], "float32")


def by_steps(model, inputs):
    """The outputs of each step (B, T, outputs) of the library, from inputs (B, T, ...)."""
    form = step_form(Network(model))
    states = [np.zeros((len(inputs), *spec.shape[1:]), "float32") for spec in form.inputs[1:]]
    outputs = []
    for step in range(inputs.shape[1]):
        given = form.function(tf.constant(inputs[:, step], "float32"), *states)
        states = [given[spec.name] for spec in form.inputs[1:]]
        outputs.append(given["outputs"].numpy().reshape(len(inputs), -1))
    return np.stack(outputs, axis=1)


class Simulation:
    """The arithmetic of the int8 files, with dense layers of 64-bit integers.

    Currents are sums of integers; potentials have 8 more bits, saturate at 32, and leak by beta * 2^16 / 2^16, rounded
    to the nearest, halves up. Inputs that are not spikes are rounded to 1/1024, halves away from 0.
    """

    def __init__(self, code):
        self.plan, self.numbers, self.constant = code.plan, code.numbers, code.constant
        self.bits, self.limit = code.sizes["INPUT_BITS"], code.sizes["INPUT_LIMIT"]

    def run(self, inputs):
        """As `Code.by_library`."""
        self.states = [{} for _ in self.numbers]
        self.signals = {i: np.zeros(int(np.prod(o.shape)), "int64") for i, o in enumerate(self.plan.operations)}
        last, units = self.plan.output, self.numbers[self.plan.output].units
        outputs, fired = [], []
        for now in np.asarray(inputs, "float32"):
            scaled = np.clip(now * np.float32(2**self.bits), -self.limit, self.limit)
            self.signals[INPUT] = np.trunc(scaled + np.copysign(np.float32(0.5), scaled)).astype("int64").ravel()
            for i, operation in enumerate(self.plan.operations):
                self.signals[i] = self._step(i, operation)
            spikes = [self.signals[i] for i, o in enumerate(self.plan.operations) if hasattr(o.cell, "threshold")]
            fired.append(sum(np.count_nonzero(of_cell) for of_cell in spikes))
            if "potential" in self.states[last]:
                values = np.resize(units.astype("float32"), self.signals[last].size)
                outputs.append(values * self.states[last]["potential"].astype("float32"))
            else:
                unit = np.float32(self.plan.operations[last].signal.scale)
                outputs.append(unit * self.signals[last].astype("float32"))
        return np.array(outputs), np.array(fired)

    def _step(self, i, operation):
        cell, numbers, state = operation.cell, self.numbers[i], self.states[i]
        if hasattr(cell, "of"):
            return self._maximum(operation, state)
        from_input, current = 0, 0
        for path, weights in zip(operation.paths, numbers.weights, strict=True):
            part = dense(path.connected(), weights, self.signals[path.signal.operation])
            assert np.abs(part).max() < 2**31
            from_input, current = (
                (from_input + part, current) if path.signal.operation == INPUT else (from_input, current + part)
            )
        if cell is None:
            return from_input + current
        of = {
            name: np.resize(value, operation.shape).ravel().astype("int64")
            for name, value in numbers.parameters.items()
        }
        if self.constant:
            current = saturated(of["bias"] + 256 * current)
            current = saturated(current + rounded(256 * from_input, self.bits)) if np.ndim(from_input) else current
        else:
            current = saturated(of["bias"] + 256 * (current + rounded(from_input, self.bits)))
        if "synaptic_beta" in of:
            current = saturated(rounded(state.get("current", 0) * of["synaptic_beta"], 16) + current)
            state["current"] = current
        potential = saturated(state.get("membrane", of.get("start", 0)) + current)
        if "threshold" not in of:
            state["potential"] = state["membrane"] = rounded(potential * of["beta"], 16)
            return potential
        spikes = (potential > of["threshold"]).astype("int64")
        if cell.signed:
            spikes -= (potential < 0) & (state.get("net", 0) > 0)
            state["net"] = state.get("net", 0) + spikes
        if cell.reset_mechanism == "zero":
            potential = np.where(spikes != 0, 0, potential)
        else:
            potential = saturated(potential - spikes * of["threshold"])
        state["membrane"] = rounded(potential * of["beta"], 16)
        return spikes

    def _maximum(self, operation, state):
        connection, cell = operation.paths[0].connected(), operation.cell
        inputs = self.signals[operation.paths[0].signal.operation]
        if cell.of == "spikes":
            return np.max(windows(connection, inputs, -(2**40)), axis=0).ravel()
        before = state.get("seen", np.zeros_like(inputs))
        state["seen"] = before + inputs
        now, old = (windows(connection, seen, -(2**40)).max(axis=0).ravel() for seen in (state["seen"], before))
        return now - old


def saturated(values):
    return np.clip(values, -(2**31), 2**31 - 1)


def rounded(values, bits):
    """values / 2^bits, to the nearest integer, halves up."""
    return np.floor_divide(2 * values + 2**bits, 2 ** (bits + 1))


def windows(c, signal, padding):
    """What each place of the kernel sees: (kernel, *out_size, channels)."""
    reach = [
        (o - 1) * s + d * (k - 1) + 1 for o, s, d, k in zip(c.out_size, c.stride, c.dilation, c.kernel, strict=True)
    ]
    after = [max(r - n - p, 0) for r, n, p in zip(reach, c.size, c.padding, strict=True)]
    image = signal.reshape(*c.size, c.channels)
    image = np.pad(image, [*zip(c.padding, after, strict=True), (0, 0)], constant_values=padding)
    seen = []
    for y in range(c.kernel[0]):
        for x in range(c.kernel[1]):
            y0, x0 = y * c.dilation[0], x * c.dilation[1]
            rows = image[y0 : y0 + (c.out_size[0] - 1) * c.stride[0] + 1 : c.stride[0]]
            seen.append(rows[:, x0 : x0 + (c.out_size[1] - 1) * c.stride[1] + 1 : c.stride[1]])
    return np.array(seen)


def dense(c, weights, signal):
    """The currents of a connection, or of the joined ones that it is part of."""
    seen = windows(c, signal, 0).reshape(-1, *c.out_size, c.groups, c.channels // c.groups)
    if c.weights is None:
        sums = seen.sum(axis=0).reshape(*c.out_size, -1) * weights.astype("int64")
    else:
        kernel = weights.astype("float64").reshape(-1, c.groups, weights.shape[-1] // c.groups).swapaxes(0, 1)
        seen = seen.transpose(3, 1, 2, 0, 4).reshape(c.groups, -1, kernel.shape[1])
        sums = (seen @ kernel).astype("int64")  # exact: far below 2^53
        sums = sums.swapaxes(0, 1).reshape(*c.out_size, -1)
    currents = np.zeros((*c.out_size, c.joined or c.out_channels), "int64")
    currents[..., c.offset : c.offset + c.out_channels] = sums
    return currents.ravel()
