"""What a command puts out: lines on stdout and files. Whole, or one line that says why not."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG

from weightgraft.errors import UserError

GONE = 141  # how a process ends whose reader has gone, as a shell counts it
INTERRUPTED = 130


def say(text: str = "") -> None:
    """A line on stdout, at once. Characters that its encoding does not have are written as their codes.

    Raises:
        UserError: it cannot be written to.
        SystemExit: its reader has gone (`... | head -1`): nobody is there to be told.
    """
    if sys.stdout is None:
        raise UserError("stdout is closed: nothing can be printed; redirect it to a file, or to /dev/null")
    known = sys.stdout.encoding or "utf-8"
    with _of_stdout():
        print(text.encode(known, "backslashreplace").decode(known), flush=True)


def sayable(text: str) -> bool:
    """Whether stdout's encoding has all characters."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def _of_stdout() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # What could not be written would be tried again when the interpreter ends, and told with a traceback.
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            sys.exit(GONE)
        raise UserError(f"stdout cannot be written to: {error.strerror}") from None


@contextmanager
def ended_well() -> Iterator[None]:
    """Around a whole command: what is left to print is printed, and an interruption (Control-C) is one word and no traceback."""
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    finally:
        if sys.stdout is not None:
            with _of_stdout():
                sys.stdout.flush()


def check_writable(option: str, path: Path) -> None:
    """That a file can be written there: an empty one beside it is tried.

    Raises:
        UserError: what stands in the way.
    """
    with _of_file(option):
        whole = path.resolve()
        if not whole.parent.is_dir():
            raise UserError(f"{option}: there is no directory {whole.parent}")
        with suppress(FileNotFoundError):
            if not S_ISREG(whole.stat().st_mode):
                raise UserError(f"{option}: there is something of that name that is no file")
        with _beside(whole) as part:
            part.touch()


@contextmanager
def written(option: str, path: Path) -> Iterator[Path]:
    """The name of a file to be written, which then takes the path's place. Where writing fails, what was there stays.

    Raises:
        UserError: what stands in the way.
    """
    with _of_file(option), _beside(path.resolve()) as part:  # resolved: a link stays one
        yield part
        os.replace(part, path.resolve())


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    part = path.with_name(f".weightgraft-{os.getpid()}{path.suffix}")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _of_file(option: str) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead to each other
        told = getattr(error, "strerror", None) or error
        raise UserError(f"{option}: no file can be written there: {told}; give another one") from None
