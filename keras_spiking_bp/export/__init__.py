"""Trained networks as files that run without this library: SavedModel, LiteRT, ONNX, C."""

from keras_spiking_bp.export.c import export_c
from keras_spiking_bp.export.c_poisson import poisson_spikes
from keras_spiking_bp.export.litert import export_litert
from keras_spiking_bp.export.onnx import export_onnx
from keras_spiking_bp.export.saved_model import export_saved_model

__all__ = ["export_c", "export_litert", "export_onnx", "export_saved_model", "poisson_spikes"]
