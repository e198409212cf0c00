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


def averaged(spikes, size, stride=None):
    """For each spike its window, as an array with a single 1 there; none if it is in no window."""
    stride = stride or size
    height, width, channels = spikes.shape
    rows, columns = ((n - size) // stride + 1 for n in (height, width))
    for y, x, channel in np.argwhere(spikes):
        for row in range(rows):
            for column in range(columns):
                top, left = row * stride, column * stride
                if top <= y < top + size and left <= x < left + size:
                    one = np.zeros((rows, columns, channels))
                    one[row, column, channel] = 1
                    yield one


def dense(spikes, units):
    return sum(units for _ in np.argwhere(spikes))
