"""matplotlib for figure files, in the style of the library."""

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

from keras_spiking_bp.analysis.style import STYLE

plt.rcParams.update(STYLE)

__all__ = ["plt"]
