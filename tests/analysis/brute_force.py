"""Follows every spike through every synapse, one at a time: plain Python, nothing shared with the library."""

from __future__ import annotations

import numpy as np


def conv(spikes, kernel, stride, padding, filters):
    """Synapses that the spikes (H, W, C) of one step reach in a convolution with symmetric padding."""
    height, width, _ = spikes.shape
    rows, columns = ((n + 2 * padding - kernel) // stride + 1 for n in (height, width))
    reached = 0
    for y, x, _ in np.argwhere(spikes):
        for row in range(rows):
            for column in range(columns):
                top, left = row * stride - padding, column * stride - padding
                if top <= y < top + kernel and left <= x < left + kernel:
                    reached += filters
    return reached


def pool(spikes, size, stride):
    height, width, _ = spikes.shape
    reached = 0
    for y, x, _ in np.argwhere(spikes):
        for top in range(0, height - size + 1, stride):
            for left in range(0, width - size + 1, stride):
                reached += top <= y < top + size and left <= x < left + size
    return reached


def dense(spikes, units):
    return sum(units for _ in np.argwhere(spikes))
