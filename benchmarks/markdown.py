"""Tables and numbers formatted for the pages."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from benchmarks.results import Record, Results


def table(header: Iterable[str], rows: Iterable[Iterable[str]], left: int = 1) -> str:
    """A Markdown table, the first columns left, the others right."""
    header = list(header)
    lines = [header, [*[":---"] * left, *["---:"] * (len(header) - left)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def seconds(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def ratio(value: float | None, reference: float | None) -> str:
    """`value / reference` with two decimals, empty if one is missing."""
    return "" if value is None or reference is None else f"{value / reference:.2f}"


def spread(times: list[float]) -> str:
    """The median, and the smallest and largest in brackets."""
    return f"{seconds(median(times))} ({seconds(min(times))} to {seconds(max(times))})"


def cell(results: Results, record: Record | None, what: str) -> str:
    """The median "seconds" or the peak "GB" of a record, or its failure; empty without a record."""
    if record is None:
        return ""
    if results.status(record) != "ok":
        return results.status(record)
    if what == "seconds":
        return seconds(median(results.times(record)))
    return f"{results.memory(record, 'peak') / 1e9:.2f}"
