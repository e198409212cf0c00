"""What to watch while a spiking network trains."""

from keras_spiking_bp.training.callbacks.health import Health
from keras_spiking_bp.training.callbacks.tensorboard import SpikingTensorBoard

__all__ = ["Health", "SpikingTensorBoard"]
