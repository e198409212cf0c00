"""From an ordinary network to a spiking one, and to one without batch normalisation."""

from keras_spiking_bp.conversion.convert import convert_to_snn

__all__ = ["convert_to_snn"]
