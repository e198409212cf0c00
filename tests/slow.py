"""Which cases of a test are left to `make test-slow`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def slow_except(cases: Iterable[Any], *fast: Any) -> list[Any]:
    """The cases of `pytest.mark.parametrize`, a tuple for several arguments; all but `fast` are marked slow."""
    cases = list(cases)
    unknown = [case for case in fast if case not in cases]
    assert not unknown, unknown
    return [case if case in fast else slow(case) for case in cases]


def slow(case: Any) -> Any:
    """A case that is marked slow."""
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
