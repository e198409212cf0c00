"""What the C files say of a network: where its states are, its weights, how it is called."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from keras_spiking_bp.cells import LIFCell, MaxPoolingCell, ReadoutCell
from keras_spiking_bp.export.c_numbers import Numbers
from keras_spiking_bp.export.c_paths import INPUT, Connection
from keras_spiking_bp.export.c_plan import Operation, Plan


class Layout:
    """Where the states of each operation start in those of the network."""

    def __init__(self, plan: Plan, step_shape: tuple[int, ...], integer: bool, constant: bool):
        whole = [operation.signal.largest or 0 for operation in plan.operations]
        bits = next(bits for bits in (8, 16, 32) if max(whole) < 2 ** (bits - 1))
        self.type = "float" if 0 in whole else f"int{bits}_t"
        self.places: list[dict[str, int]] = []
        values = signals = counts = 0
        for operation in plan.operations:
            cell, number = operation.cell, int(np.prod(operation.shape))
            place = dict.fromkeys(("membrane", "synaptic", "constant", "signals", "counts"), 0)
            if isinstance(cell, MaxPoolingCell) and cell.of == "counts":
                place["membrane"], values = values, values + int(np.prod(operation.paths[0].signal.shape))
            if isinstance(cell, LIFCell | ReadoutCell):
                place["membrane"], values = values, values + number
                if getattr(cell, "synaptic_beta", None) is not None:
                    place["synaptic"], values = values, values + number
            if constant and _takes_input(operation):
                place["constant"], values = values, values + number
            if not _is_readout(operation):
                place["signals"], signals = signals, signals + number
            if getattr(cell, "signed", False):
                place["counts"], counts = counts, counts + number
            self.places.append(place)
        currents = max(int(np.prod(operation.shape)) for operation in plan.operations)
        self.sizes = {
            "VALUES": max(values, 1), "CURRENTS": currents, "SIGNALS": max(signals, 1), "COUNTS": max(counts, 1)
        }  # fmt: skip
        of_signal, of_input = 4 if self.type == "float" else bits // 8, 2 if integer else 4
        before_input = _aligned(4 * (self.sizes["VALUES"] + currents) + of_signal * self.sizes["SIGNALS"], of_input)
        self.bytes = _aligned(before_input + of_input * math.prod(step_shape) + 2 * self.sizes["COUNTS"])


def _aligned(number: int, size: int = 4) -> int:
    """The next multiple of a size."""
    return -(-number // size) * size


def _is_readout(operation: Operation) -> bool:
    return isinstance(operation.cell, ReadoutCell)


def _takes_input(operation: Operation) -> bool:
    """Whether it has a connection from the input."""
    return any(path.signal.operation == INPUT for path in operation.paths)


_C_TYPES = {"float32": "float", "int8": "int8_t", "int32": "int32_t"}


def weights_file(plan: Plan, numbers: list[Numbers], layout: Layout) -> tuple[str, int]:
    """The file weights.c, and the number of units of its outputs."""
    lines = ['#include "weights.h"', "", "#include <stddef.h>", ""]
    operations = []
    for i, (operation, of_operation, place) in enumerate(zip(plan.operations, numbers, layout.places, strict=True)):
        connections = []
        for j, (path, array) in enumerate(zip(operation.paths, of_operation.weights, strict=True)):
            name = f"weights_{i}_{j}"
            lines.append(_array(name, array))
            source = path.signal.operation
            start = -1 if source == INPUT else layout.places[source]["signals"]
            connections.append(_connection(path.connected(), name, start))
        names = {}
        for parameter, values in of_operation.parameters.items():
            names[parameter] = f"{parameter}_{i}"
            lines.append(_array(names[parameter], values))
        lines.append(f"static const Connection connections_{i}[] = {{\n  " + ",\n  ".join(connections) + "};")
        operations.append(_operation(operation, f"connections_{i}", of_operation.period, place, names))
    lines.append("const Operation network_operations[NETWORK_OPERATIONS] = {\n  " + ",\n  ".join(operations) + "};")
    units = numbers[plan.output].units.astype("float32")
    if not _is_readout(plan.operations[plan.output]):
        units = np.array([plan.operations[plan.output].signal.scale], "float32")
    lines.append(_array("network_output_units", units, "NETWORK_OUTPUT_UNITS", static=False))
    return "\n".join(lines) + "\n", len(units)


def _array(name: str, values: np.ndarray, size: str = "", static: bool = True) -> str:
    flat = values.ravel()
    texts = [as_float(x) if values.dtype.kind == "f" else str(x) for x in flat.tolist()]
    rows = [", ".join(texts[i : i + 16]) for i in range(0, len(texts), 16)]
    kind = f"{'static ' * static}const {_C_TYPES[values.dtype.name]}"
    return f"{kind} {name}[{size}] = {{\n  " + ",\n  ".join(rows) + "};"


def as_float(x: float) -> str:
    """A constant of type float."""
    text = f"{x:.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def _connection(c: Connection, name: str, source: int) -> str:
    def both(pair: Sequence[int]) -> str:
        return f"{{{pair[0]}, {pair[1]}}}"

    arrays = ("NULL", name) if c.weights is None else (name, "NULL")
    sizes = [both(c.size), c.channels, both(c.out_size), c.out_channels, c.joined or c.out_channels, c.offset]
    windows = [both(c.kernel), both(c.stride), both(c.padding), both(c.dilation), c.groups]
    return "{" + ", ".join(map(str, [*arrays, source, *sizes, *windows])) + "}"


def _operation(operation: Operation, connections: str, period: int, place: dict[str, int], names: dict) -> str:
    cell = operation.cell
    kind = "NEURONS"
    if cell is None:
        kind = "PASS"
    elif _is_readout(operation):
        kind = "READOUT"
    elif isinstance(cell, MaxPoolingCell):
        kind = "MAXIMUM"
    flags = (
        getattr(cell, "signed", False), getattr(cell, "reset_mechanism", "") == "zero",
        isinstance(cell, MaxPoolingCell) and cell.of == "counts",
    )  # fmt: skip
    fields = [
        kind, int(np.prod(operation.shape)), period, connections, len(operation.paths), int(_takes_input(operation)),
        *place.values(), *map(int, flags),
        *(names.get(name, "NULL") for name in ("bias", "threshold", "start", "beta", "synaptic_beta")),
    ]  # fmt: skip
    return f"/* {operation.name} */\n  {{" + ", ".join(map(str, fields)) + "}"


def bytes_of_numbers(plan: Plan, numbers: list[Numbers]) -> int:
    """Of all arrays, and of the tables, whose entries have 19 and 20 words on a machine of 32 bits."""
    arrays = [array for of in numbers for array in (*of.weights, *of.parameters.values())]
    tables = 4 * (19 * len(plan.operations) + 20 * sum(len(operation.paths) for operation in plan.operations))
    outputs = len(numbers[plan.output].units) if _is_readout(plan.operations[plan.output]) else 1
    return sum(_aligned(array.nbytes) for array in arrays) + tables + 4 * outputs


def readme(text: str, name: str, num_steps: int | None, weights: str, sizes: dict, memory: dict[str, int]) -> str:
    """The README of a network."""
    calls, limits, seen = "network_step(&network, input);", "", "as the encoder of the model gives them"
    if sizes["INPUT_BITS"]:
        limits = " of at most {:.3g} (larger ones are cut)".format(sizes["INPUT_LIMIT"] / 2 ** sizes["INPUT_BITS"])
    if sizes["POISSON"]:
        seen = "the image as the encoder of the model sees it"
        calls = "network_poisson(image, seed, step, spikes);\n    network_step(&network, spikes);"
    elif sizes["CONSTANT_INPUT"]:
        seen = "the image as the encoder of the model sees it"
        calls = "network_step(&network, step == 0 ? image : NULL);"
    return text.format(
        name=name, weights=weights, inputs=sizes["INPUTS"], limits=limits, seen=seen, steps=num_steps or "any number",
        outputs=sizes["OUTPUTS"], flash=f"{memory['flash']:,}", ram=f"{memory['ram']:,}", calls=calls,
    )  # fmt: skip
