"""Parts of pages written by hand that a command makes."""

from __future__ import annotations

import re

END = "<!-- end -->"


def replaced(page: str, maker: str, block: str) -> str:
    """The text of a page with the block between `<!-- made by {maker} -->` and `<!-- end -->` made anew.

    Raises:
        ValueError: if the page does not have one such block.
    """
    begin = f"<!-- made by {maker} -->"
    there = re.compile(f"{re.escape(begin)}\n.*?{re.escape(END)}", re.DOTALL)
    if len(there.findall(page)) != 1:
        raise ValueError(f"The page must have one block from {begin} to {END}")
    return there.sub(lambda _: f"{begin}\n{block}\n\n{END}", page)


def command_of(report: dict) -> str:
    """The command that made a report, by the name that it has today and without an option that is the only way now."""
    named = re.sub(r"^python -m examples\.(?!experiments\.)", "python -m examples.experiments.", report["command"])
    return named.replace(" --packaged", "")
