"""Writes the tables of `docs/howto/microcontroller.md` from `docs/microcontroller.json`.

python -m docs.build.microcontroller_table

`python -m benchmarks.microcontroller --data-dir FOLDER` measures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from benchmarks.markdown import seconds, table
from docs.build.blocks import command_of, replaced
from docs.build.titles import TITLES
from keras_spiking_bp.models import model_card

REPORT, PAGE = Path("docs/microcontroller.json"), Path("docs/howto/microcontroller.md")
MAKER = "python -m docs.build.microcontroller_table"
INSTRUCTIONS = ["network", "weights", "flash, kB", "RAM, kB", "additions", "event-driven", "dense ANN", "ratio"]
LINES = ["network", "weights", "an addition", "a step without events", "r²"]
TIMES = [
    "network", "weights", "event-driven", "dense ANN", "event-driven, vector", "dense ANN, vector", "LiteRT, ANN",
    "LiteRT, spiking",
]  # fmt: skip


def block(report: dict) -> str:
    """The tables as Markdown."""
    rows = list(_rows(report))
    cpu = report["machine"]["cpu"].split(" (")[0]
    parts = [
        "Millions of instructions of a sample on a Cortex-M4:\n",
        table(INSTRUCTIONS, (_instructions(*row) for row in rows), left=2),
        "To estimate a network of your own, instructions of a step as a straight line against its additions:\n",
        table(LINES, (_line(*row) for row in rows if "line" in row[2]["event_driven"] and not row[3]), left=2),
        f"Milliseconds of a sample on one core of a PC ({cpu}):\n",
        table(TIMES, (_times(*row) for row in rows), left=2),
        "\n".join(_exits(rows)) + "\n",
        f"`{command_of(report)}`, {', '.join(report['versions'].values())}.",
    ]
    return "\n".join(parts)


def _rows(report: dict) -> Iterator[tuple[str, str, dict, dict]]:
    """Title, weights, figures, and those of the early exit for a row of it."""
    for name, of in report["networks"].items():
        steps = f"T = {of['steps']}" if of["steps"] == int(of["steps"]) else f"{of['steps']:.0f} frames"
        title = f"{TITLES[model_card(name)['network']]} on {TITLES[name]}, {steps}"
        for weights in ("float32", "int8"):
            yield title, weights, of[weights], {}
            if "early_exit" in of[weights]["event_driven"]:
                yield f"{title}, early exit", weights, of[weights], of[weights]["event_driven"]["early_exit"]


def _instructions(title: str, weights: str, row: dict, exit_: dict) -> list[str]:
    event, dense = {**row["event_driven"], **exit_}, row["dense"]
    if "instructions" not in event:
        return [title, weights, *_memory(row), f"{event['additions'] / 1e6:.2f}", "-", "-", "-"]
    return [
        title, weights, *_memory(row), "" if exit_ else f"{event['additions'] / 1e6:.2f}",
        f"{event['instructions'] / 1e6:.1f}", f"{dense['instructions'] / 1e6:.1f}",
        f"{event['instructions'] / dense['instructions']:.2f}",
    ]  # fmt: skip


def _memory(row: dict) -> list[str]:
    return [f"{row['memory'][kind] / 1e3:,.0f}" for kind in ("flash", "ram")]


def _line(title: str, weights: str, row: dict, _: dict) -> list[str]:
    line = row["event_driven"]["line"]
    return [title, weights, f"{line['slope']:.2f}", f"{line['intercept']:,.0f}", f"{line['r2']:.4f}"]


def _times(title: str, weights: str, row: dict, exit_: dict) -> list[str]:
    event, dense = {**row["event_driven"], **exit_}, row["dense"]
    values = [
        event["scalar_ms"], dense["scalar_ms"], event["vector_ms"], dense["vector_ms"], row["litert_ann_ms"],
        row["litert_spiking_ms"],
    ]  # fmt: skip
    return [title, weights, *map(seconds, values)]


def _exits(rows: list[tuple[str, str, dict, dict]]) -> Iterator[str]:
    for title, weights, _, exit_ in rows:
        if exit_:
            yield (
                f"* {title}, {weights}: margin {exit_['margin']:.2g}, {exit_['steps']:.1f} steps on average, accuracy "
                f"{100 * exit_['accuracy']:.1f} % of {exit_['images']:,} test images (all steps: "
                f"{100 * exit_['accuracy_of_all_steps']:.1f} %)"
            )


def main() -> None:
    PAGE.write_text(replaced(PAGE.read_text(), MAKER, block(json.loads(REPORT.read_text()))))
    print(PAGE)


if __name__ == "__main__":
    main()
