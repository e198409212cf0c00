"""Measurements of keras_spiking_bp against other libraries: `python -m benchmarks.run --output PAGE`."""
