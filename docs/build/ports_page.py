"""The table of ports in `docs/log/studies.md`, from the results in `docs/ports.json`."""

from __future__ import annotations

import statistics

from docs.build.blocks import command_of
from docs.build.titles import TITLES
from examples.experiments.ports.__main__ import PORTS

OPTIONS = {
    ("readout", True): "`ReadoutCell` as output",
    ("layers", True): "layers on sequences",
}


def section(rows: list[dict]) -> str:
    """The table, and how it was made, as Markdown."""
    lines = [
        "| example | data | network | test accuracy of each seed (%) | mean | seconds |",
        "| --- | --- | --- | --- | ---: | ---: |",
    ]
    order = {name: i for i, name in enumerate(PORTS)}
    rows = sorted(rows, key=lambda row: (order[row["port"]], row["side"] == "ours", len(row["options"])))
    for row in rows:
        accuracies = [100 * training["accuracy"] for training in row["trainings"]]
        seconds = statistics.mean(training["seconds"] for training in row["trainings"])
        lines.append(
            f"| {PORTS[row['port']].TITLE} | {_data(row)} | {_network(row)} | "
            f"{', '.join(f'{accuracy:.1f}' for accuracy in accuracies)} "
            f"| {statistics.mean(accuracies):.1f} | {seconds:.0f} |"
        )
    commands = list(dict.fromkeys(command_of(row) for row in rows))
    machine, versions = rows[-1]["machine"], rows[-1]["versions"]
    names = {"keras": "Keras", "tensorflow": "TensorFlow", "torch": "torch", "snntorch": "snnTorch"}
    names["spikingjelly"] = "SpikingJelly"
    libraries = ", ".join(f"{name} {versions[key]}" for key, name in names.items() if key in versions)
    lines += [
        "",
        "```text",
        *commands,
        "```",
        "",
        f"{libraries}, Python {machine['python']}. With `--output FILE` the commands train anew. "
        f"The seconds are those of {machine['cores']} cores that ran "
        "other work too.",
    ]
    return "\n".join(lines)


def _data(row: dict) -> str:
    name = TITLES.get(row["data"], row["data"])
    epochs = "1 epoch" if row["epochs"] == 1 else f"{row['epochs']} epochs"
    return f"{name}, {row['samples']:,} images, {epochs}; {row['test_samples']:,} to test"


def _network(row: dict) -> str:
    who = "ours" if row["side"] == "ours" else "the original"
    options = [
        OPTIONS.get((name, value), f"`gradient={value!r}`" if name == "gradient" else f"{value} {name}")
        for name, value in row["options"].items()
    ]
    return ", ".join([who, *options])
