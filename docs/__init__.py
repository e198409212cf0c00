"""The documentation, and what builds it: `docs.build` the pages with figures, `docs.watch` the page in the browser."""
