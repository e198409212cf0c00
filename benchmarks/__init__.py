"""Measurements of keras_spiking_bp against other libraries: `python -m benchmarks.run`."""

import os

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # all on the CPU: TensorFlow would take a GPU by itself, torch would not
