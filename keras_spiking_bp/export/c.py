"""C99 for microcontrollers: a network that works where its spikes are."""

from __future__ import annotations

import os
from importlib import resources

import keras
import numpy as np

from keras_spiking_bp.encoders import ConstantEncoder, PoissonEncoder
from keras_spiking_bp.export.atomic import written_whole
from keras_spiking_bp.export.c_numbers import INPUT_BITS, numbers_of
from keras_spiking_bp.export.c_paths import INPUT, Signal
from keras_spiking_bp.export.c_plan import Plan
from keras_spiking_bp.export.c_source import Layout, as_float, bytes_of_numbers, readme, weights_file
from keras_spiking_bp.export.forms import Network, check_float32, check_forwards
from keras_spiking_bp.rnn.spiking_model import encoder_of
from keras_spiking_bp.utils.validation import check_choice

_COPIED = ("network.c", "weights.h", "main.c")


def export_c(
    model: keras.Model, path: str | os.PathLike, weights: str = "float32", overwrite: bool = False
) -> dict[str, int]:
    """Writes a network as C99 that adds weights only where a spike is.

    For each spike of a layer, the weights that lead from it are added to the currents of its targets, so that time and
    energy grow with the spikes. The code allocates no memory and needs no library; all states of a sample are in one
    struct. Batch normalisation is folded into the weights. An image that is held as a constant current
    (`ConstantEncoder`) is multiplied once. `README.md` in the folder says how to call and compile it.

    Args:
        model, overwrite: as in `export_saved_model`.
        path: the folder to write: `network.h`, `network.c`, `weights.h`, `weights.c`, an example `main.c`, `README.md`.
        weights: `"float32"`, or `"int8"` for a quarter of the size and integers between input and output: weights of 8
            bits with a scale for each output channel, potentials of 32 bits, inputs that are not spikes in 1/1024, of
            at most 32 (the `README.md` says how much: less for a wide first layer).

    Returns:
        The bytes of read-only memory, `"flash"`, and of the states, `"ram"`, without code and stack.

    Raises:
        ValueError: as `export_saved_model`; if a layer has no such form (it is none of dense, convolution, average
            pooling, padding, flatten, reshape, rescaling, batch normalisation behind weights), or with `"int8"` if a
            layer with weights has no neurons behind it, or sums may not fit 32 bits.
        FileExistsError: as `export_saved_model`.

    Example:
        >>> import tempfile
        >>> model = models.spiking_vgg((8, 8, 1), 3, stages=[(4, 3), "pool"], dense_units=[], num_steps=10)
        >>> export.export_c(model, tempfile.mkdtemp() + "/network", weights="int8")["ram"]
        3536
    """
    integer = check_choice("weights", weights, ("float32", "int8")) == "int8"
    network = Network(model)
    check_forwards(network)
    check_float32(network.parts(), "C")
    encoder, _ = encoder_of(model)  # one with a `call` of the user's may do something else
    constant = isinstance(encoder, ConstantEncoder) and type(encoder).call is ConstantEncoder.call
    poisson = isinstance(encoder, PoissonEncoder) and type(encoder).call is PoissonEncoder.call
    scale = encoder.scale if encoder is not None and (constant or poisson) else 1.0
    plan = Plan(
        network.layer.cell,
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
        "SCALE": as_float(scale if poisson else 1.0),
        "INPUT_BITS": bits,
        "INPUT_LIMIT": 1 if poisson else min(of_operation.input_limit for of_operation in numbers),
        "OPERATIONS": len(plan.operations),
        "OUTPUT": plan.output,
        "OUTPUTS": int(np.prod(plan.operations[plan.output].shape)),
        **layout.sizes,
    }
    source, sizes["OUTPUT_UNITS"] = weights_file(plan, numbers, layout)
    memory = {"flash": bytes_of_numbers(plan, numbers), "ram": layout.bytes}
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
            readme(files.joinpath("README.md").read_text(), model.name, network.num_steps, weights, sizes, memory)
        )
    return memory
