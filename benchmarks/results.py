"""Queries on the JSON of a run."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.case import settled
from benchmarks.registry import CASES, MAIN, NORMALIZED

ROOT = Path(__file__).parent.parent
KEY = ("section", "case", "network", "steps", "batch", "mode")

Record = dict[str, Any]


def write(path: Path, report: dict[str, Any]) -> None:
    """Writes raw figures atomically: what a killed run leaves is whole."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(report, indent=1) + "\n")
    part.replace(path)


def repeats_of(section: str, settings: dict[str, Any]) -> int:
    """How many runs of a process are timed."""
    return settings["repeats" if section in (MAIN, NORMALIZED) else "sweep_repeats"]


class Results:
    """The records of a run by what they measure. Runs of all rounds are pooled."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.settings = data["settings"]
        self.records: dict[tuple, Record] = {tuple(record[key] for key in KEY): record for record in data["results"]}

    def find(self, *key: Any) -> Record | None:
        """Record of (section, case, network, steps, batch, mode). What is in the main tables is not measured again."""
        return self.records.get(key) or self.records.get(("main", *key[1:]))

    def status(self, record: Record) -> str:
        """`ok`, or what the tables show instead of a figure."""
        statuses = [run["status"] for run in record["runs"]]
        return {
            "ok": "ok",
            "out of memory": f"out of memory (> {self.settings['memory_limit']:.0f} GB)",
            "timeout": f"> {self.settings['timeout']:.0f} s",
            "failed": "failed",
        }[next((status for status in statuses if status != "ok"), "ok")]

    def times(self, record: Record) -> list[float]:
        """Seconds of all timed runs."""
        return [seconds for run in record["runs"] for seconds in run.get("times", ())]

    def time(self, *key: Any) -> float | None:
        """Median seconds, None where there are none."""
        record = self.find(*key)
        if record is None or self.status(record) != "ok":
            return None
        return median(self.times(record))

    def unsettled(self) -> list[tuple]:
        """Keys of the records with a run whose times still changed at its end."""
        return [
            key
            for key, record in self.records.items()
            if not all(
                settled(run["times"], repeats_of(record["section"], self.settings))
                for run in record["runs"]
                if run["status"] == "ok"
            )
        ]

    def memory(self, record: Record, field: str) -> float | None:
        """Median of a field over the runs, in bytes."""
        values = [run[field] for run in record["runs"] if field in run]
        return median(values) if values else None

    def others(self) -> float:
        """Largest share of the machine that other processes used while a case ran."""
        runs = [run for record in self.records.values() for run in record["runs"]]
        return max((run.get("others", 0.0) for run in runs), default=0.0)

    def peak(self, *key: Any) -> float | None:
        """Peak memory in bytes, None where there is none."""
        record = self.find(*key)
        if record is None or self.status(record) != "ok":
            return None
        return self.memory(record, "peak")

    def fastest(self, group: str, section: str, *rest: Any) -> tuple[str, float | None]:
        """Title and seconds of the fastest case of a group; ("none", None) without any."""
        found = [(self.time(section, case.name, *rest), case.title) for case in CASES.values() if case.group == group]
        times = [(time, title) for time, title in found if time is not None]
        return (min(times)[1], min(times)[0]) if times else ("none", None)
