"""python -m keras_spiking_bp.kernels: compiles the kernels for this machine."""

from keras_spiking_bp.kernels.compiler import build, library_path

if __name__ == "__main__":
    print(f"Compiling the neuron update for this TensorFlow and processor, to {library_path()} ...", flush=True)
    build()
    print("Done. `keras_spiking_bp.kernels.enable()` or KERAS_SPIKING_BP_KERNELS=1 in the environment, switches it on.")
