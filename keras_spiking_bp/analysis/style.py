"""The style of all pictures: the library's, and those of its examples, benchmarks and documentation.

`STYLE` holds matplotlib settings; your own plots look like ours after `matplotlib.rcParams.update(STYLE)`. Line i has
`COLORS[i]` and `LINES[i]`, so that lines differ without colour, too.
"""

from typing import Any

# Okabe and Ito's palette: distinguishable for the colour-blind, and by lightness in print
BLUE, ORANGE, GREEN, PINK, SKY, YELLOW, BLACK = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000",
)  # fmt: skip
COLORS = (BLUE, ORANGE, GREEN, PINK, SKY, YELLOW, BLACK)
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 3)))
#: For secondary elements: other classes, the input, thresholds.
GREY = "#999999"
#: Text beside such lines.
DARK_GREY = "#666666"

STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#444444",
    "axes.labelcolor": "#222222",
    "axes.prop_cycle": f"cycler('color', {list(COLORS)})",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.titlesize": 11,
    "figure.constrained_layout.h_pad": 0.1,  # inches
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.titlesize": 13,
    "figure.titleweight": "bold",
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "grid.color": "#E5E5E5",
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "savefig.dpi": 150,
    "text.color": "#222222",
    "xtick.color": "#444444",
    "xtick.labelsize": 9,
    "ytick.color": "#444444",
    "ytick.labelsize": 9,
}
