"""`python -m weightgraft`, the same as the command `weightgraft`."""

from weightgraft.cli import run

run()
