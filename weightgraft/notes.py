"""Notes: what is odd but allowed, said in one line and once.

Who notices something calls `note`. In Python it is a warning, of the category Note; a command gathers its notes, prints
them before its table and puts them into its document.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class Note(UserWarning):
    """Something odd that changes no number, or that a reader of the numbers should know."""


def note(text: str) -> None:
    """Say one line: which donor or option, which file and entry, what is odd, what was made of it."""
    warnings.warn(text, Note, stacklevel=3)


@contextmanager
def gathered() -> Iterator[list[str]]:
    """The notes that are said in the block, each once, instead of warnings. Other warnings go where they went before."""
    notes: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", Note)
        show = warnings.showwarning

        def keep(message, category, *where, **more) -> None:
            if not issubclass(category, Note):
                show(message, category, *where, **more)
            elif str(message) not in notes:
                notes.append(str(message))

        warnings.showwarning = keep  # put back by catch_warnings
        yield notes
