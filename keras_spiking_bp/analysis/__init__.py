"""How sparse a network is, what an inference costs, and how it compares."""

from keras_spiking_bp.analysis import pictures
from keras_spiking_bp.analysis.activity import activity
from keras_spiking_bp.analysis.comparison import compare
from keras_spiking_bp.analysis.operations import Costs, energy, operations
from keras_spiking_bp.analysis.over_time import accuracy_over_time
from keras_spiking_bp.analysis.run import Run, run

__all__ = ["Costs", "Run", "accuracy_over_time", "activity", "compare", "energy", "operations", "pictures", "run"]
