"""For mkdocs: the executed notebooks of examples/notebooks become pages of the site, with their pictures."""

import re
from pathlib import Path

import nbformat
from mkdocs.structure.files import File
from nbconvert import MarkdownExporter
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

FOLDER = Path(__file__).parent.parent.parent / "examples" / "notebooks"
NOTE = "*This page is the notebook [`examples/notebooks/{name}.ipynb`]({name}.ipynb); `make notebooks` runs it anew.*"


def on_files(files, config, **kwargs):
    """Adds a page, the pictures and the notebook itself for each of them."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        text, pictures = page(path)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
        files.append(File.generated(config, f"notebooks/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, **kwargs):
    """Links to notebooks, which lead to the files where the sources are read, lead to their pages."""
    if page.file.src_uri.startswith("notebooks/"):
        return markdown
    return re.sub(r"\]\((?:\.\./)+examples/notebooks/(\w+)\.ipynb", _to_page(page.file.src_uri), markdown)


def page(path):
    """A notebook as Markdown, and its pictures by their names."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["language_info"] = {"name": "python"}
    exporter = MarkdownExporter(preprocessors=[CoalesceStreamsPreprocessor(enabled=True)])
    text, resources = exporter.from_notebook_node(notebook, {"unique_key": path.stem, "output_files_dir": "."})
    text = re.sub(r"\]\(\.\./\.\./docs/", "](../", text)
    text = re.sub(r"\]\((\w+)\.ipynb\)", r"](\1.md)", text)
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    pictures = {Path(name).name: content for name, content in resources["outputs"].items()}
    text = _pictures_named(text)
    title, rest = text.lstrip().split("\n", 1)
    return f"{title}\n\n{NOTE.format(name=path.stem)}\n{rest}", pictures


def _pictures_named(text):
    """The text with the last heading before each picture as what it shows."""
    parts = re.split(r"(^#+ .*$)", text, flags=re.MULTILINE)  # before the first heading, heading, what follows it, ...
    for i in range(2, len(parts), 2):
        heading = parts[i - 1].lstrip("# ")
        parts[i] = re.sub(r"!\[png\]\((?:.*/)?([^/)]+)\)", rf"![{heading}](\1)", parts[i])
    return "".join(parts)


def _to_page(source):
    up = "../" * source.count("/")
    return rf"]({up}notebooks/\1.md"
