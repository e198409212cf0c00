"""Encodes images, or series of values, as inputs over time."""

from keras_spiking_bp.encoders.constant import ConstantEncoder
from keras_spiking_bp.encoders.delta import DeltaEncoder
from keras_spiking_bp.encoders.latency import LatencyEncoder
from keras_spiking_bp.encoders.poisson import PoissonEncoder

__all__ = ["ConstantEncoder", "DeltaEncoder", "LatencyEncoder", "PoissonEncoder"]
