"""The loop over time, and the derivative through it."""
