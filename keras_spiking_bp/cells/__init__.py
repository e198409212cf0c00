"""Cells: one time step of a spiking network."""

from keras_spiking_bp.cells.base import Cell
from keras_spiking_bp.cells.graph import GraphCell
from keras_spiking_bp.cells.integrate_and_fire import IFCell, PoolingCell
from keras_spiking_bp.cells.lif import LIFCell
from keras_spiking_bp.cells.max_pooling import MaxPoolingCell
from keras_spiking_bp.cells.readout import ReadoutCell
from keras_spiking_bp.cells.recurrent import RecurrentCell
from keras_spiking_bp.cells.residual import ResidualCell
from keras_spiking_bp.cells.sequential import SequentialCell

__all__ = [
    "Cell",
    "GraphCell",
    "IFCell",
    "LIFCell",
    "MaxPoolingCell",
    "PoolingCell",
    "ReadoutCell",
    "RecurrentCell",
    "ResidualCell",
    "SequentialCell",
]
