"""How a command runs: bad input ends in one clear line instead of a traceback."""

import gc
import sys
from collections.abc import Callable


class UserError(Exception):
    """Something the user can mend; the message is one line that names the key or option, the value and the choices."""


def run_main(main: Callable[[], None]) -> None:
    """Run a command's main(); a UserError becomes one line on stderr and exit code 1."""
    # What the imports made stays to the end. Collections, and those at the interpreter's exit, need not look through it: with torch
    # and transformers that is a second or two of every start.
    gc.freeze()
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
