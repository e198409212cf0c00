"""Writes the pages and the plots from the JSON: `python -m benchmarks.report FILE`.

The page in short (`benchmarks.summary`), and beside it in `log/` that of all tables. Every figure is computed from the
JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks import plots, sections, summary
from benchmarks.case import MOST, SETTLED
from benchmarks.markdown import cell, ratio, seconds, spread, table
from benchmarks.networks import NETWORKS
from benchmarks.registry import CASES, INFER, INFER_SPIKES, MAIN, PEER, SWEEP, TRAIN
from benchmarks.results import Results

PICTURES = {
    "step-time": "Seconds of a training step of each library",
    "sweep": "Time and memory of a training step against T",
}
INTRO = """# Log of the benchmarks

All tables behind [Benchmarks](../{page}), which has the set-up. Measured by `python -m benchmarks.run --rounds {rounds}
--output PAGE`, or by the command that a section names, on the processor named there. Each case ran until its last
{repeats} runs differed by less than {settled:.0%}, or until {budget:g} s or {most} runs were spent: the last are timed.
All ran in {rounds} rounds, except in one: inference with its encoder, and the sizes that occur only against time steps.
Tables give the median, with the smallest and largest run in brackets. Empty fields: not measured. {unsettled}

* **Training step**: Poisson encoding, forward pass, backward pass, plain SGD update; loss: sum of squared errors
  between V[T] / T and the one-hot label. **Inference**: Poisson encoding and forward pass.
* **Peak memory**: the largest resident memory of the process. "After imports" is that of the libraries. "Out of
  memory": more than {memory_limit:g} GB; no library uses checkpointing.
* **Authors' rule**: that of the code of the paper's authors, in plain PyTorch (`benchmarks/peers/authors_rule.py`).
* **T x bare synapses**: the layers alone, forward only, on given spikes of all steps. **Bare spiking loop**: with the
  neurons' operations.
"""


def time_table(results: Results, network: str, steps: int, batch: int, mode: str) -> str:
    """One row for each case, with ratios to ours and to the fastest peer."""

    def time(name: str, in_mode: str = mode) -> float | None:
        return results.time("main", name, network, steps, batch, in_mode)

    ours = time("ours")
    peer = results.fastest(PEER, "main", network, steps, batch, mode)
    rows = []
    for case in (case for case in CASES.values() if case.section == MAIN):
        limit = mode == TRAIN and case.name.startswith("bare_synapses")
        shown_mode = INFER_SPIKES if limit else mode
        record = results.find("main", case.name, network, steps, batch, shown_mode)
        if record is None:
            continue
        value = time(case.name, shown_mode)
        shown = results.status(record) if value is None else spread(results.times(record))
        rows.append([case.title, shown, ratio(value, ours), ratio(value, peer[1])])
    return table(["", "seconds", "x ours", f"x fastest peer ({peer[0]})"], rows)


def spikes_table(results: Results, network: str, steps: int, batch: int) -> str:
    """Inference on given spikes beside the bare loops."""
    rows = []
    for case in CASES.values():
        value = results.time("main", case.name, network, steps, batch, INFER_SPIKES)
        if value is not None:
            limit = "bare_spiking" + ("_bf16" if case.options.get("bf16") else "")
            bare = results.time("main", limit, network, steps, batch, INFER_SPIKES)
            rows.append([case.title, seconds(value), ratio(value, bare)])
    return table(["spikes given", "seconds", "x bare spiking loop"], rows)


def memory_table(results: Results, network: str, steps: int, batch: int) -> str:
    """Peak memory of training and inference."""
    rows = []
    for case in CASES.values():
        train = results.find("main", case.name, network, steps, batch, TRAIN)
        infer = results.find("main", case.name, network, steps, batch, INFER)
        if train is None:
            continue
        imports = results.memory(train, "rss_imports")
        cells = [imports, results.memory(train, "peak")]
        cells.append(None if infer is None else results.memory(infer, "peak"))
        texts = ["" if cell is None else f"{cell / 1e9:.2f}" for cell in cells]
        if results.memory(train, "peak") is None:
            texts[1] = results.status(train)
        rows.append([case.title, *texts])
    return table(["GB", "after imports", "training, peak", "inference, peak"], rows)


def sweep_table(results: Results, network: str, batch: int, what: str) -> str:
    """One row for each case, one column for each T."""
    all_steps = results.settings["sweep_steps"]
    rows = []
    for case in (CASES[name] for name in SWEEP):
        records = [results.find("sweep", case.name, network, steps, batch, TRAIN) for steps in all_steps]
        cells = [cell(results, record, what) for record in records]
        if any(cells):
            rows.append([case.title, *cells])
    return table([what, *[f"T = {steps}" for steps in all_steps]], rows)


def machine_text(machine: dict[str, Any], others: float, remark: str = "") -> str:
    """Machine and versions as a list."""
    yes = {True: "yes", False: "no"}
    versions = ", ".join(f"{name} {value}" for name, value in machine["versions"].items())
    return (
        "## Machine\n\n"
        f"* {machine['cpu']}, {machine['cores']} cores, {machine['ram_gib']} GiB of memory, "
        f"{machine['system']}\n"
        f"* bf16 instructions: AVX512_BF16 {yes[machine['avx512_bf16']]}, "
        f"AMX {yes[machine['amx_bf16']]}\n"
        f"* Python {machine['python']}, {versions}\n"
        f"* {machine['date']}, commit {machine.get('commit') or 'unknown'}; each library with its default number of "
        "threads; while a case ran, other processes "
        f"used at most {others:.1%} of the machine\n" + (f"* {remark}\n" if remark else "")
    )


def unsettled_text(results: Results) -> str:
    """The cases whose times had not settled when no further run was begun."""
    found = [
        f"{CASES[case].title} ({network}, T = {steps}, batch {batch}, {mode})"
        for _, case, network, steps, batch, mode in results.unsettled()
    ]
    return f"Not settled by then: {'; '.join(found)}." if found else "All times had settled."


def command(network: str, steps: int, batch: int, mode: str) -> str:
    """How to repeat one row."""
    return f"One row: `python -m benchmarks.case ours {network} {steps} {batch} {mode}`\n"


def page_text(data: dict[str, Any], page: str, folder: Path) -> str:
    """All tables; `page` is the name of the page in short, `folder` may hold results of other benchmarks."""
    results = Results(data)
    settings = data["settings"]
    intro = INTRO.format(**settings, page=page, settled=SETTLED - 1, most=MOST, unsettled=unsettled_text(results))
    parts = [intro, machine_text(data["machine"], results.others(), data.get("remark", ""))]
    for network, steps, batch in settings["main"]:
        parts.append(f"## {NETWORKS[network].title}, T = {steps}, batch {batch}\n")
        parts.append("### Training step\n")
        parts.append(time_table(results, network, steps, batch, TRAIN))
        parts.append(command(network, steps, batch, TRAIN))
        parts.append("### Inference\n")
        parts.append(time_table(results, network, steps, batch, INFER))
        parts.append(spikes_table(results, network, steps, batch))
        parts.append(command(network, steps, batch, INFER))
        parts.append("### Peak memory\n")
        parts.append(memory_table(results, network, steps, batch))
    for network, batch in settings["sweep"]:
        parts.append(f"## Against T: {NETWORKS[network].title}, batch {batch}\n")
        parts.append(sweep_table(results, network, batch, "seconds"))
        parts.append(sweep_table(results, network, batch, "GB"))
    parts.append("Both: `python -m benchmarks.run --section sweep --output PAGE`\n")
    parts += sections.of(results, data, folder)
    return "\n".join(parts)


def pictures(page: str) -> tuple[str, str]:
    """The plots in the page in short."""
    bars, sweep = (f"![{shown}](images/{page}-{name}.png)\n" for name, shown in PICTURES.items())
    return bars, sweep


def write(data: dict[str, Any], page: Path) -> list[str]:
    """Write pages and plots; return their paths."""
    results = Results(data)
    folder, log = page.parent / "images", page.parent / "log" / page.name
    for place in (folder, log.parent):
        place.mkdir(parents=True, exist_ok=True)
    images = [folder / f"{page.stem}-{name}.png" for name in PICTURES]
    plots.bars(results, images[0])
    plots.sweep(results, images[1])
    page.write_text(summary.page_text(data, pictures(page.stem), page.parent))
    log.write_text(page_text(data, page.name, page.parent))
    return [str(page), str(log), *map(str, images)]


def main() -> None:
    """Read the JSON, write the page beside it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, nargs="?", default=Path("docs/benchmarks.json"))
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    page = args.output or args.results.with_suffix(".md")
    print("\n".join(write(json.loads(args.results.read_text()), page)))


if __name__ == "__main__":
    main()
