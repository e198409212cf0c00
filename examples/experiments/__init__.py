"""Trainings and studies whose results are on pages of the documentation: `python -m examples.experiments.NAME`."""
