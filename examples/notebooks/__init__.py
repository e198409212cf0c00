"""Notebooks: each is a `.py` file of cells (jupytext's percent format), and an `.ipynb` made from it."""
