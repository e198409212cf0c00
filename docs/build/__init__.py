"""Writes the pages and pictures whose figures come from reports: `python -m docs.build.NAME`. And hooks of mkdocs."""
