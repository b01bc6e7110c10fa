"""The command `weightgraft`: what can be asked of checkpoints of your own."""

import argparse
import atexit
import gc
import sys
import textwrap
from importlib import import_module

from weightgraft import __version__
from weightgraft.errors import run_main
from weightgraft.output import ended_well

# New objects before garbage is looked for. torch and transformers bring a million that all stay: to look at Python's usual 700
# takes more than a second of each start.
NEW_OBJECTS = 100_000
WIDTH = 79  # of what help prints: a terminal has 80 columns
# name: (module with main(), what the command tells)
COMMANDS = {
    "inspect": (
        "weightgraft.inspection.command",
        "where a fact comes back: a table of grafting schemes and a map of single (token, layer) cells",
    ),
    "explore": (
        "weightgraft.explorer.command",
        "the same by hand: a page on this machine, on which you click the cells that are grafted",
    ),
}
DESCRIPTION = """\
Dynamic weight grafting: run a finetuned model's weights at chosen tokens,
layers and components, and the pretrained model's everywhere else. Where does
what the finetuned model has learnt come back?
"""


def parser() -> argparse.ArgumentParser:
    """Reads the first argument; what follows is the command's own."""
    told = [
        textwrap.fill(what, WIDTH, initial_indent=f"  {name:12}", subsequent_indent=" " * 14)
        for name, (_, what) in COMMANDS.items()
    ]
    made = argparse.ArgumentParser(
        prog="weightgraft",
        usage="weightgraft COMMAND ...",
        description="\n".join([DESCRIPTION, "commands:", *told]),
        epilog="`weightgraft COMMAND --help` shows what a command takes. In Python:\n"
        "    from weightgraft import GraftedModel, encode_prompt, parse_scheme",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"weightgraft {__version__}")
    made.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS)
    return made


def main(arguments: list[str] | None = None) -> None:
    """Run the command that the first argument names; without one, print the help."""
    given = sys.argv[1:] if arguments is None else arguments
    if not given:
        parser().print_help()
        return
    command = parser().parse_args(given[:1]).command
    import_module(COMMANDS[command][0]).main(given[1:])


def whole() -> None:
    """A command and all that it prints."""
    with ended_well():
        main()


def run() -> None:
    """Entry point of the installed command."""
    gc.set_threshold(NEW_OBJECTS)
    atexit.register(gc.freeze)  # nor once more when the interpreter ends: another second and a half
    run_main(whole)
