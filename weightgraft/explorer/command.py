"""Look for a fact in two checkpoints of your own by hand: a page on this machine
only, where you type a prompt, mark its entity and click cells of the
tokens-by-layers grid to graft them.

    weightgraft explore --recipient path/of/base --donor sft=path/of/finetuned

Models are given as for `weightgraft inspect`. The page is served on the
loopback; its address holds all that you see, so that a finding is a link.
"""

import argparse
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from urllib.parse import urlencode

from weightgraft.errors import UserError
from weightgraft.inspection.command import model_options, span_option
from weightgraft.inspection.folders import check_folders, named_donors
from weightgraft.inspection.question import check_texts, read_schemes, read_spans
from weightgraft.notes import gathered
from weightgraft.output import say

HOST = "127.0.0.1"
PORT = 8460
NEEDED = ("starlette", "uvicorn")  # the extra `explore`


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="weightgraft explore",
        usage="weightgraft explore --recipient DIR --donor NAME=DIR [options]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    model_options(parser)
    add = parser.add_argument
    add("--prompt", metavar="TEXT", help="what the page asks first")
    add("--target", metavar="TEXT", help="what should follow; else SFT's most likely next token")
    span_option(parser)
    add("--scheme", metavar="NOTATION", help="what is grafted first, such as 'FE+LT' (PRE: nothing)")
    add("--port", type=int, default=PORT, help=f"of {HOST}; 0: any that is free ({PORT})")
    return parser.parse_args(arguments)


def check_server() -> None:
    """That the server's libraries are there.

    Raises:
        UserError: names the cure.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise UserError(
            f"weightgraft explore needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed: "
            "pip install 'weightgraft[explore]' (in a clone of the repository: pip install '.[explore]')"
        )


def bound(port: int) -> socket.socket:
    """A socket that listens on the loopback.

    Raises:
        UserError: there is no such port, or it is taken.
    """
    if not 0 <= port < 2**16:
        raise UserError(f"--port {port}: a port is a number from 0 to {2**16 - 1}")
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((HOST, port))
        made.listen()
    except OSError as error:
        made.close()
        raise UserError(f"--port {port}: {error.strerror}; choose another one, or 0 for any") from None
    return made


def fragment(args: argparse.Namespace) -> str:
    """The part of the address that holds what is asked, as state.js writes it; empty where nothing is.

    Raises:
        UserError: there is no prompt, or something that cannot be asked about it.
    """
    if args.prompt is None:
        if args.target or args.span or args.scheme:
            raise UserError("--target, --span and --scheme are about a prompt: give --prompt too")
        return ""
    check_texts(args.prompt, args.target or "-", None)
    spans = read_spans(args.span, args.prompt)
    if args.scheme:
        read_schemes([args.scheme], list(named_donors(args.donor)), spans)
    fields = [("prompt", args.prompt), ("target", args.target or "")]
    fields += [
        ("span", f"{name}:{first}:{last}") for name, members in spans.items() for first, last in members
    ]
    fields.append(("scheme", args.scheme or ""))
    return "#" + urlencode([(name, value) for name, value in fields if value])


def main(arguments: Sequence[str] | None = None) -> None:
    args = parsed(arguments)
    check_server()
    donors = named_donors(args.donor)
    first = fragment(args)
    with gathered() as notes:
        check_folders(args.recipient, donors)
        with bound(args.port) as listening:
            # torch and transformers take seconds to import: what could be checked without them has been.
            import uvicorn

            from weightgraft.explorer.models import Models
            from weightgraft.explorer.server import explorer_app
            from weightgraft.loading.models import be_quiet, chosen_device

            device = chosen_device(args.device)
            be_quiet()
            models = Models(args.recipient, donors, args.dtype, device)
            for note in notes:
                print(f"note: {note}", file=sys.stderr)
            port = listening.getsockname()[1]
            config = uvicorn.Config(
                explorer_app(models, port),
                http="h11",
                ws="none",
                lifespan="off",
                access_log=False,
                log_level="error",
                server_header=False,
                proxy_headers=False,
                limit_concurrency=100,
                timeout_graceful_shutdown=1,
            )
            say(f"explorer: http://{HOST}:{port}/{first}\nControl-C ends it")
            with suppress(KeyboardInterrupt):  # the way to end it
                uvicorn.Server(config).run(sockets=[listening])
