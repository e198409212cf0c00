"""The neuron update as one C++ operation: optional, compiled on this machine, switched on by `enable`.

`python -m keras_spiking_bp.kernels` compiles it; `enable()`, or `KERAS_SPIKING_BP_KERNELS=1` in the environment,
switches it on. Trainings on a CPU then pass over memory less often, and are the same to the last bit. Everything else
is as without: inference, exports and saved models hold operations of TensorFlow alone.
"""

from keras_spiking_bp.kernels.compiler import build, library_path
from keras_spiking_bp.kernels.switch import disable, enable, enabled

__all__ = ["build", "disable", "enable", "enabled", "library_path"]
