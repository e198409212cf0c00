"""The neuron update, and a mean over steps, as one C++ operation each: optional, compiled on this machine.

`enable()`, or `KERAS_SPIKING_BP_KERNELS=1` in the environment, compiles it and switches it on. Training on a CPU then
makes fewer passes over memory, with bit-identical spikes and records; weights after training are the same up to
rounding. Everything else is unchanged: inference, exports and saved models contain only TensorFlow operations.
"""

from keras_spiking_bp.kernels.switch import enable

__all__ = ["enable"]
