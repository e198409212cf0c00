"""Measures everything in one run: `python -m benchmarks.run --output PAGE`.

Each case runs in its own process, one after the other; the cases of one table follow each other
closely and the whole table is measured three times, so that machine drift favours no case. Results
are saved after each process; `--resume` continues an interrupted run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from benchmarks import machine
from benchmarks.case import settled
from benchmarks.registry import CASES, INFER, MAIN, MODES, NORMALIZED, SWEEP, TRAIN
from benchmarks.results import KEY, ROOT, repeats_of, write

SECTIONS = (MAIN, NORMALIZED, "sweep")
BUSY = 0.05  # share of the machine used by others above which a figure is not trusted


@dataclass(frozen=True)
class Job:
    """One process to start."""

    section: str  # of SECTIONS
    case: str
    network: str
    steps: int
    batch: int
    mode: str


@dataclass(frozen=True)
class Settings:
    """Sizes and limits of a run."""

    main: tuple[tuple[str, int, int], ...] = (
        ("lenet", 50, 64),
        ("vgg9", 20, 16),
        ("vgg9", 100, 16),
    )
    sweep: tuple[tuple[str, int], ...] = (("lenet", 32), ("vgg9", 16))
    sweep_steps: tuple[int, ...] = (25, 100, 400)
    normalized: tuple[tuple[str, int, int], ...] = (("vgg9", 4, 64), ("vgg9", 8, 64))
    rounds: int = 3
    repeats: int = 3  # timed runs of one process in the main tables, and in the sweep below
    sweep_repeats: int = 3
    budget: float = 120.0  # seconds after which no run of a process begins
    memory_limit: float = 16.0  # GB
    timeout: float = 600.0  # seconds for one process
    attempts: int = 3  # for a process disturbed by others
    patience: float = 300.0  # seconds to wait for an idle machine


QUICK = Settings(
    main=(("lenet", 10, 8), ("vgg9", 5, 4)),
    sweep=(("lenet", 8), ("vgg9", 4)),
    sweep_steps=(5, 10),
    normalized=(("vgg9", 2, 4),),
    rounds=1,
    repeats=2,
    sweep_repeats=1,
    attempts=1,
    patience=0.0,
)


def jobs(settings: Settings, number: int) -> Iterator[Job]:
    """All processes of round `number` of the tables of whole networks; inference with its encoder in the first only."""
    modes = [mode for mode in MODES if mode != INFER or number == 0]
    for section, sizes in ((MAIN, settings.main), (NORMALIZED, settings.normalized)):
        for network, steps, batch in sizes:
            for mode in modes:
                for case in CASES.values():
                    if case.section == section and mode in case.modes:
                        yield Job(section, case.name, network, steps, batch, mode)


def key_of(job: Job) -> tuple:
    """What its records are found by."""
    return tuple(getattr(job, name) for name in KEY)


def once(settings: Settings, in_main: Collection[tuple]) -> Iterator[Job]:
    """The processes that run once: over T, except for those `in_main`, the main tables."""
    for network, batch in settings.sweep:
        for steps in settings.sweep_steps:
            for name in SWEEP:
                job = Job("sweep", name, network, steps, batch, TRAIN)
                if key_of(job)[1:] not in in_main:
                    yield job


def children_seconds() -> float:
    """CPU seconds used by the finished cases so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def busy_share(work: Callable[[], Any]) -> tuple[Any, float]:
    """What `work` returns, and the share of the machine used by other processes meanwhile."""
    start, busy, own = time.monotonic(), machine.busy_seconds(), children_seconds()
    result = work()
    others = (machine.busy_seconds() - busy) - (children_seconds() - own)
    capacity = (time.monotonic() - start) * (psutil.cpu_count() or 1)
    return result, max(others / capacity, 0.0)


def quiet_job(job: Job, settings: Settings) -> dict[str, Any]:
    """`run_job` on an idle machine: waits for it, and retries if disturbed."""
    best: dict[str, Any] = {}
    for _ in range(settings.attempts):
        until = time.monotonic() + settings.patience
        while busy_share(lambda: time.sleep(2))[1] > BUSY and time.monotonic() < until:
            pass
        result, others = busy_share(lambda: run_job(job, settings))
        result["others"] = round(others, 3)
        if not best or others < best["others"]:
            best = result
        if others <= BUSY:
            break
    return best


def run_job(job: Job, settings: Settings) -> dict[str, Any]:
    """Start one process, monitor its memory and time; return its measurements."""
    repeats = repeats_of(job.section, asdict(settings))
    command = [sys.executable, "-m", "benchmarks.case", job.case, job.network]
    command += [str(job.steps), str(job.batch), job.mode]
    command += ["--repeats", str(repeats), "--budget", str(settings.budget)]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=err)
        watched = psutil.Process(child.pid)
        status, largest = "ok", 0
        try:
            while child.poll() is None:
                try:
                    largest = max(largest, watched.memory_info().rss)
                except psutil.NoSuchProcess:
                    break
                if largest > settings.memory_limit * 1e9:
                    status = "out of memory"
                elif time.monotonic() - start > settings.timeout:
                    status = "timeout"
                if status != "ok":
                    child.kill()
                    break
                time.sleep(0.05)
            child.wait()
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        out.seek(0)
        err.seek(0)
        if status != "ok":
            return {"status": status, "largest_rss": largest}
        if child.returncode == -9:
            return {"status": "out of memory", "largest_rss": largest}
        if child.returncode:
            return {"status": "failed", "error": err.read()[-2000:]}
        return {"status": "ok"} | json.loads(out.read().strip().splitlines()[-1])


def one_line(result: dict[str, Any], repeats: int) -> str:
    """A result for the terminal."""
    if result["status"] != "ok":
        return result["status"] + "\n" + result.get("error", "")
    times = sorted(result["times"])
    median = times[len(times) // 2]
    text = f"{median:8.3f} s, peak {result['peak'] / 1e9:.2f} GB"
    if not settled(times, repeats):
        text += f", BUT not settled: {result['warmup'] + result['times']}"
    if result["others"] > BUSY:
        text += f", BUT other processes took {result['others']:.0%} of the machine"
    return text


def main() -> None:
    """Run every job, save after each, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smoke test with tiny sizes")
    parser.add_argument("--only", nargs="+", choices=CASES, help="these cases only")
    parser.add_argument("--section", choices=SECTIONS, nargs="+", help="these parts only")
    parser.add_argument("--rounds", type=int, help="rounds over the tables of whole networks")
    parser.add_argument("--output", type=Path, help="the Markdown page; all raw numbers are in a JSON beside it")
    parser.add_argument("--resume", action="store_true", help="resume from the JSON")
    args = parser.parse_args()

    settings = QUICK if args.quick else Settings()
    if args.rounds:
        settings = Settings(**(asdict(settings) | {"rounds": args.rounds}))
    folder = ROOT / ("build" if args.quick else "docs")
    page = args.output or folder / "benchmarks.md"
    results_path = page.with_suffix(".json")
    results_path.parent.mkdir(parents=True, exist_ok=True)

    data: dict[str, Any] = {"results": []}
    if args.resume and results_path.exists():
        data = json.loads(results_path.read_text())
    here = machine.describe()
    if not machine.same(data.get("machine", here), here):
        parser.error(f"{results_path} was measured {machine.ELSEWHERE}")
    before = data.get("settings", asdict(settings))
    if settings.rounds < before["rounds"] and args.rounds:
        parser.error(f"{results_path} has {before['rounds']} rounds already: --rounds can only add to them")
    settings = replace(settings, rounds=max(settings.rounds, before["rounds"]))
    data |= {"machine": here, "settings": asdict(settings)}
    records = {tuple(r[key] for key in KEY): r for r in data["results"]}

    todo = [(job, number) for number in range(settings.rounds) for job in jobs(settings, number)]
    in_main = {tuple(r[key] for key in KEY[1:]) for r in data["results"] if r["section"] == MAIN}
    if MAIN in (args.section or SECTIONS):
        in_main |= {key_of(job)[1:] for job, _ in todo if job.section == MAIN and job.case in (args.only or CASES)}
    todo += [(job, 0) for job in once(settings, in_main)]
    for job, number in todo:
        if args.only and job.case not in args.only:
            continue
        if args.section and job.section not in args.section:
            continue
        key = key_of(job)
        if key not in records:
            records[key] = asdict(job) | {"runs": []}
            data["results"].append(records[key])
        runs = records[key]["runs"]
        if len(runs) > number:
            continue
        print(" ".join(map(str, key)), end=" ", flush=True)
        runs.append(quiet_job(job, settings))
        print(one_line(runs[-1], repeats_of(job.section, data["settings"])), flush=True)
        write(results_path, data)
    from benchmarks import report  # here, as a child's ru_maxrss starts at the size of its parent

    print(f"written: {results_path}, {', '.join(report.write(data, page))}")


if __name__ == "__main__":
    main()
