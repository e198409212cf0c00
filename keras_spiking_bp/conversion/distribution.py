"""The distribution of activations, over many batches, in constant memory."""

from __future__ import annotations

import numpy as np

_CANDIDATES = 400  # thresholds that `least_error` tries


class Distribution:
    """Distribution of float32 numbers >= 0.

    The bits of such numbers, read as integers, are in the order of the numbers. The upper 16 bits of each thus give its
    bin, and a second pass over the same numbers, which counts the lower 16 bits in one bin or two, gives any order
    statistic exactly (radix selection).
    """

    def __init__(self):
        self.maximum = 0.0
        self._bins = np.zeros(2**15, np.int64)
        self._inside: dict[int, np.ndarray] = {}

    def add(self, values: np.ndarray) -> None:
        """Counts the numbers of a batch."""
        bits = _bits(values)
        self.maximum = max(self.maximum, float(values.max()))
        self._bins += np.bincount(bits >> 16, minlength=len(self._bins))

    def look_for(self, percentile: float) -> None:
        """Before the second pass: which percentile to look for."""
        for rank in self._ranks(percentile)[:2]:
            self._inside[self._bin_of(rank)] = np.zeros(2**16, np.int64)

    def add_again(self, values: np.ndarray) -> None:
        """The second pass: the same batch once more."""
        bits = _bits(values)
        for number, counts in self._inside.items():
            counts += np.bincount(bits[bits >> 16 == number] & 0xFFFF, minlength=len(counts))

    def percentile(self, percentile: float) -> float:
        """As `numpy.percentile` of all numbers, after the second pass."""
        lower, higher, share = self._ranks(percentile)
        low, high = self._number(lower), self._number(higher)
        return low + share * (high - low)

    def least_error(self, num_steps: int, initial_membrane: float, reset_mechanism: str = "subtract") -> float:
        """The threshold with which spike counts over `num_steps` represent the numbers with the least squared error.

        A neuron with threshold `norm` that gets `x` at each step and starts at `initial_membrane * norm`, represents

            q(x) = norm / num_steps * clip(floor(num_steps * x / norm + initial_membrane), 0, num_steps)

        with a reset by subtraction. With a reset to zero it first fires when `initial_membrane * norm` and its inputs
        reach `norm`, then each time that its inputs alone do.

        The best of 400 values of `norm` up to the largest number; the numbers are rounded to 8 bits here.
        """
        bins = np.flatnonzero(self._bins)
        middle = np.where(bins == 0, 0, (bins << 16) + 2**15).astype(np.int32)
        numbers, counts = middle.view(np.float32).astype(float), self._bins[bins]
        candidates = self.maximum * np.arange(1, _CANDIDATES + 1) / _CANDIDATES

        def counts_with(norm: float) -> np.ndarray:
            if reset_mechanism == "subtract":
                return np.clip(np.floor(num_steps * numbers / norm + initial_membrane), 0, num_steps)
            with np.errstate(divide="ignore", invalid="ignore"):  # 0 never fires
                first, between = np.ceil((1 - initial_membrane) * norm / numbers), np.ceil(norm / numbers)
                return np.where(first <= num_steps, 1 + np.floor((num_steps - first) / between), 0)

        def error(norm: float) -> float:
            count = counts_with(norm)
            return float((counts * (numbers - norm / num_steps * count) ** 2).sum())

        return float(min(candidates, key=error)) if self.maximum > 0 else 0.0

    def _ranks(self, percentile: float) -> tuple[int, int, float]:
        place = percentile / 100 * (int(self._bins.sum()) - 1)
        low = int(np.floor(place))
        return low, int(np.ceil(place)), place - low

    def _bin_of(self, rank: int) -> int:
        return int(np.searchsorted(np.cumsum(self._bins), rank, side="right"))

    def _number(self, rank: int) -> float:
        number = self._bin_of(rank)
        before = int(self._bins[:number].sum())
        low_bits = int(np.searchsorted(np.cumsum(self._inside[number]), rank - before, side="right"))
        return float(np.array([(number << 16) + low_bits], np.int32).view(np.float32)[0])


def _bits(values: np.ndarray) -> np.ndarray:
    return np.abs(values, dtype=np.float32).reshape(-1).view(np.int32)  # a zero may have a sign
