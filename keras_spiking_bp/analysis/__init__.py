"""How sparse a network is, what an inference costs, and how it compares."""

from keras_spiking_bp.analysis import pictures
from keras_spiking_bp.analysis.activity import activity
from keras_spiking_bp.analysis.comparison import compare
from keras_spiking_bp.analysis.operations import FLOAT32_45NM, INT32_45NM, Costs, energy, operations
from keras_spiking_bp.analysis.over_time import accuracy_over_time
from keras_spiking_bp.analysis.run import Run, run
from keras_spiking_bp.analysis.table import Table

__all__ = [
    "FLOAT32_45NM",
    "INT32_45NM",
    "Costs",
    "Run",
    "Table",
    "accuracy_over_time",
    "activity",
    "compare",
    "energy",
    "operations",
    "pictures",
    "run",
]
