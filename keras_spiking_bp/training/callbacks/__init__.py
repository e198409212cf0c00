"""What to watch while a spiking network trains."""

from keras_spiking_bp.training.callbacks.health import Health

__all__ = ["Health"]
