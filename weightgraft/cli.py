"""The command `weightgraft`: what can be asked of checkpoints of your own."""

import argparse
import sys
from importlib import import_module

from weightgraft import __version__
from weightgraft.errors import run_main

# name: (module with parsed() and main(), what it does)
COMMANDS = {
    "inspect": (
        "weightgraft.inspection.command",
        "where does a fact come back? A table of grafting schemes and a map of single cells",
    ),
}


def main(arguments: list[str] | None = None) -> None:
    """Run the command that the first argument names."""
    given = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(
        prog="weightgraft",
        description="Two checkpoints of one architecture, a pretrained and a finetuned one: run the finetuned weights at chosen "
        "tokens, layers and components, and the pretrained ones everywhere else.",
        epilog="commands:\n"
        + "\n".join(f"  {name:10} {what}" for name, (_, what) in COMMANDS.items())
        + "\n\n`weightgraft COMMAND --help` lists the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"weightgraft {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="command", help="one of those below")
    # What follows the command is the command's own.
    chosen = parser.parse_args(given[:1]).command
    import_module(COMMANDS[chosen][0]).main(given[1:])


def run() -> None:
    """Entry point of the installed command."""
    run_main(main)
