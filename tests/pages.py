"""The code of a page of the documentation."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def snippets(path):
    """The Python snippets of a Markdown file, in their order."""
    return re.findall(r"```python\n(.*?)```", Path(path).read_text(), re.DOTALL)


def run(path):
    """Runs the snippets of a page one after the other; the names that they leave."""
    names = {}
    for snippet in snippets(path):
        exec(snippet, names)
    return names
