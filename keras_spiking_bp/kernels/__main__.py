"""python -m keras_spiking_bp.kernels: compiles the kernels for this machine."""

import time

from keras_spiking_bp.kernels.compiler import build, library_path

if __name__ == "__main__":
    print(
        f"Compiling the neuron update for this TensorFlow and processor, to {library_path()} ...",
        flush=True,
    )
    start = time.perf_counter()
    build()
    print(
        f"Done in {time.perf_counter() - start:.0f} s. `keras_spiking_bp.kernels.enable()`, or "
        "KERAS_SPIKING_BP_KERNELS=1 in the environment, switches it on."
    )
