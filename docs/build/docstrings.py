"""Lets mkdocstrings read our docstrings: section titles in the words that it knows."""

import re

import griffe

TITLES = {"Example": "Examples", "Call arguments": "Other Parameters"}


class Titles(griffe.Extension):
    """`Example:` becomes `Examples:`, whose `>>>` lines are shown as code."""

    def on_object(self, *, obj, **kwargs):
        if obj.docstring:
            found = "|".join(TITLES)
            obj.docstring.value = re.sub(
                rf"^( *)({found}):$", lambda m: f"{m[1]}{TITLES[m[2]]}:", obj.docstring.value, flags=re.MULTILINE
            )
