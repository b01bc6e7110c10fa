"""How the tests check shapes at run time (conftest.py)."""

from collections.abc import Callable
from typing import Any

from beartype import beartype


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """beartype on what a module defines. Not on functions inside of functions: each call of the outer one would compile the
    checks of the inner ones anew, which takes longer than what they do; what they get and give passes through the outer ones."""
    return function if "<locals>" in function.__qualname__ else beartype(function)
