"""For mkdocs: equations become MathML when the site is built, so that no script has to run to show them."""

import html
import re

import latex2mathml.converter


def on_page_content(content, **kwargs):
    """Takes what pymdownx.arithmatex marks, `$...$` and `$$...$$`."""

    def mathml(match):
        display = "block" if match[1] == "div" else "inline"
        return latex2mathml.converter.convert(html.unescape(match[2]).strip(), display=display)

    return re.sub(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', mathml, content, flags=re.DOTALL)
