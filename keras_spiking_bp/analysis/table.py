"""Results as rows: for pandas, for Markdown, for a picture."""

from typing import Any


class Table:
    """`rows` of one result, dictionaries with the same keys.

    `pandas.DataFrame(table.rows)` makes a data frame of it; printing it gives Markdown.
    """

    def __init__(self, rows: list[dict[str, Any]]):
        self.rows = rows

    def to_markdown(self) -> str:
        """The rows as a Markdown table; numbers with four digits."""
        header = list(self.rows[0])
        texts = [[_text(row[name]) for name in header] for row in self.rows]
        titles = [name.replace("_", " ") for name in header]
        widths = [max(len(title), *(len(text[i]) for text in texts)) for i, title in enumerate(titles)]
        number = [any(isinstance(row[name], (int, float)) for row in self.rows) for name in header]

        def line(cells):
            padded = (c.rjust(w) if n else c.ljust(w) for c, w, n in zip(cells, widths, number, strict=True))
            return f"| {' | '.join(padded)} |"

        rule = "|" + "|".join("-" * (w + 1) + (":" if n else "-") for w, n in zip(widths, number, strict=True)) + "|"
        return "\n".join([line(titles), rule, *(line(text) for text in texts)])

    def __repr__(self) -> str:
        return self.to_markdown()

    def __len__(self) -> int:
        return len(self.rows)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value).replace("|", "\\|").replace("\n", " ")
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
