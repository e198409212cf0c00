"""C99 for microcontrollers: a network that works where its spikes are."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from importlib import resources

import keras
import numpy as np

from keras_spiking_bp.cells import LIFCell, MaxPoolingCell, ReadoutCell
from keras_spiking_bp.conversion.fold import fold_batch_normalization
from keras_spiking_bp.encoders import ConstantEncoder
from keras_spiking_bp.export.atomic import written_whole
from keras_spiking_bp.export.c_numbers import INPUT_BITS, Numbers, numbers_of
from keras_spiking_bp.export.c_plan import INPUT, Connection, Operation, Plan, Signal
from keras_spiking_bp.export.forms import Network, check_float32
from keras_spiking_bp.rnn.spiking_model import encoder_of
from keras_spiking_bp.utils.validation import check_choice

_COPIED = ("network.c", "weights.h", "main.c")


def export_c(
    model: keras.Model, path: str | os.PathLike, weights: str = "float32", overwrite: bool = False
) -> dict[str, int]:
    """Writes a network as C99 that adds weights only where a spike is.

    For each spike of a layer, the weights that lead from it are added to the currents of its targets, so that time and
    charge grow with the spikes. The code allocates no memory and needs no library; all states of a sample are in one
    struct. Batch normalisation is folded into the weights. An image that is held as a constant current
    (`ConstantEncoder`) is multiplied once. `README.md` in the folder says how to call and compile it.

    Args:
        model, overwrite: as in `export_saved_model`.
        path: the folder to write: `network.h`, `network.c`, `weights.h`, `weights.c`, an example `main.c`, `README.md`.
        weights: `"float32"`, or `"int8"` for a quarter of the size and integers throughout: weights of 8 bits with a
            scale for each output channel, potentials of 32 bits, inputs that are not spikes in 1/1024.

    Returns:
        The bytes of read-only memory, `"flash"`, and of the states, `"ram"`, without code and stack.

    Raises:
        ValueError: as `export_saved_model`; if a layer has no such form (it is none of dense, convolution, pooling,
            padding, flatten, reshape, rescaling, batch normalisation behind weights), or with `"int8"` if a layer with
            weights has no neurons behind it.
        FileExistsError: as `export_saved_model`.

    Example:
        >>> import tempfile
        >>> model = models.spiking_vgg((8, 8, 1), 3, stages=[(4, 3), "pool"], dense_units=[], num_steps=10)
        >>> export.export_c(model, tempfile.mkdtemp() + "/network", weights="int8")["ram"]
        3540
    """
    integer = check_choice("weights", weights, ("float32", "int8")) == "int8"
    network = Network(model)
    if network.layer.go_backwards:
        raise ValueError("`model` must not have go_backwards=True in its SpikingRNN: a step cannot know the last input")
    check_float32(network.parts(), "C")
    encoder, _ = encoder_of(model)
    constant = isinstance(encoder, ConstantEncoder) and type(encoder).call is ConstantEncoder.call
    poisson = network.encoder is not None
    scale = encoder.scale if encoder is not None and (constant or poisson) else 1.0
    folded = Network(fold_batch_normalization(model))
    plan = Plan(
        folded.layer.cell,
        Signal(INPUT, network.step_shape, largest=1 if poisson else None),
        scale if constant else 1.0,
        integer,
    )
    bits = INPUT_BITS if integer and not poisson else 0
    numbers = [numbers_of(operation, integer, bits) for operation in plan.operations]
    layout = Layout(plan, network.step_shape, integer, constant)
    sizes = {
        "INT8": int(integer),
        "STEPS": f"{network.num_steps or 2**32 - 1}u",  # of a free number, as long as there is input
        "INPUTS": int(np.prod(network.step_shape)),
        "CONSTANT_INPUT": int(constant),
        "POISSON": int(poisson),
        "SCALE": _float(scale if poisson else 1.0),
        "INPUT_BITS": bits,
        "INPUT_LIMIT": min(of_operation.input_limit for of_operation in numbers),
        "OPERATIONS": len(plan.operations),
        "OUTPUT": plan.output,
        "OUTPUTS": int(np.prod(plan.operations[plan.output].shape)),
        **layout.sizes,
    }
    source = _weights(plan, numbers, layout, sizes)
    memory = {"flash": _flash(plan, numbers), "ram": layout.bytes}
    with written_whole(path, overwrite, folder=True) as folder:
        folder.mkdir()
        files = resources.files(__package__).joinpath("c_files")
        for name in _COPIED:
            (folder / name).write_text(files.joinpath(name).read_text())
        defined = "\n".join(f"#define NETWORK_{name} {value}" for name, value in sizes.items())
        header = files.joinpath("network.h").read_text()
        (folder / "network.h").write_text(
            header.replace("@SIZES@", f"{defined}\ntypedef {layout.type} network_signal;")
        )
        (folder / "weights.c").write_text(source)
        (folder / "README.md").write_text(
            _readme(files.joinpath("README.md").read_text(), model.name, network.num_steps, weights, sizes, memory)
        )
    return memory


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
            if constant and takes_input(operation):
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
        self.bytes = _aligned(before_input + of_input * math.prod(step_shape) + 2 * self.sizes["COUNTS"]) + 4


def _aligned(number: int, size: int = 4) -> int:
    """The next multiple of a size."""
    return -(-number // size) * size


def _is_readout(operation: Operation) -> bool:
    return isinstance(operation.cell, ReadoutCell)


def takes_input(operation: Operation) -> bool:
    """Whether it has a connection from the input."""
    return any(path.signal.operation == INPUT for path in operation.paths)


_C_TYPES = {"float32": "float", "int8": "int8_t", "int32": "int32_t"}


def _weights(plan: Plan, numbers: list[Numbers], layout: Layout, sizes: dict) -> str:
    """The file weights.c."""
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
    sizes["OUTPUT_UNITS"] = len(units)
    lines.append(_array("network_output_units", units, "NETWORK_OUTPUT_UNITS", static=False))
    return "\n".join(lines) + "\n"


def _array(name: str, values: np.ndarray, size: str = "", static: bool = True) -> str:
    flat = values.ravel()
    texts = [_float(x) if values.dtype.kind == "f" else str(x) for x in flat.tolist()]
    rows = [", ".join(texts[i : i + 16]) for i in range(0, len(texts), 16)]
    kind = f"{'static ' * static}const {_C_TYPES[values.dtype.name]}"
    return f"{kind} {name}[{size}] = {{\n  " + ",\n  ".join(rows) + "};"


def _float(x: float) -> str:
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
        kind, int(np.prod(operation.shape)), period, connections, len(operation.paths), int(takes_input(operation)),
        *place.values(), *map(int, flags),
        *(names.get(name, "NULL") for name in ("bias", "threshold", "start", "beta", "synaptic_beta")),
    ]  # fmt: skip
    return f"/* {operation.name.replace('*/', '')} */\n  {{" + ", ".join(map(str, fields)) + "}"


def _flash(plan: Plan, numbers: list[Numbers]) -> int:
    """Bytes of all arrays, and of the tables, whose entries have 19 and 20 words on a machine of 32 bits."""
    arrays = [array for of in numbers for array in (*of.weights, *of.parameters.values())]
    tables = 4 * (19 * len(plan.operations) + 20 * sum(len(operation.paths) for operation in plan.operations))
    outputs = len(numbers[plan.output].units) if _is_readout(plan.operations[plan.output]) else 1
    return sum(_aligned(array.nbytes) for array in arrays) + tables + 4 * outputs


def _readme(text: str, name: str, num_steps: int | None, weights: str, sizes: dict, memory: dict[str, int]) -> str:
    calls, limits = "network_step(&network, input);", ""
    if sizes["INPUT_BITS"]:
        limits = " of at most {:.3g} (larger ones are cut)".format(sizes["INPUT_LIMIT"] / 2 ** sizes["INPUT_BITS"])
    if sizes["POISSON"]:
        calls = "network_poisson(image, seed, step, spikes);\n    network_step(&network, spikes);"
    elif sizes["CONSTANT_INPUT"]:
        calls = "network_step(&network, step == 0 ? image : NULL);"
    return text.format(
        name=name, weights=weights, inputs=sizes["INPUTS"], limits=limits, steps=num_steps or "any number",
        outputs=sizes["OUTPUTS"], flash=f"{memory['flash']:,}", ram=f"{memory['ram']:,}", calls=calls,
    )  # fmt: skip
