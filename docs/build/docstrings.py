"""Lets mkdocstrings read our docstrings: their section titles and definitions, in the Markdown that it knows."""

import re

import griffe

TITLES = {"Example": "Examples", "Call arguments": "Other Parameters"}


class Wording(griffe.Extension):
    """`Example:` becomes `Examples:`, whose `>>>` lines are shown as code; a term above its text a definition."""

    def on_object(self, *, obj, **kwargs):
        if obj.docstring:
            text = obj.docstring.value
            titles = rf"^( *)({'|'.join(TITLES)}):$"
            text = re.sub(titles, lambda match: f"{match[1]}{TITLES[match[2]]}:", text, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r"^(`\w+`)\n    (?=\S)", r"\1\n:   ", text, flags=re.MULTILINE)
