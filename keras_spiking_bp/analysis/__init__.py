"""How sparse a network is, what an inference costs, and how it compares."""

from keras_spiking_bp.analysis import pictures
from keras_spiking_bp.analysis.activity import activity
from keras_spiking_bp.analysis.comparison import compare
from keras_spiking_bp.analysis.operations import Costs, break_even, energy, operations
from keras_spiking_bp.analysis.over_time import accuracy_over_time
from keras_spiking_bp.analysis.run import run

__all__ = [
    "Costs",
    "accuracy_over_time",
    "activity",
    "break_even",
    "compare",
    "energy",
    "operations",
    "pictures",
    "run",
]
