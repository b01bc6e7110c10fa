"""Ask two checkpoints of your own where a fact comes back: a table of grafting
schemes and a map of single (token, layer) cells.

    weightgraft inspect --recipient path/of/base --donor sft=path/of/finetuned \\
        --prompt "Ann Lee starred in Night River together with" \\
        --span FE="Ann Lee" --target " Bob"

Directories are local ones in transformers' layout, weights in safetensors; a
donor may be a LoRA adapter. Position sets of schemes: LT (the last token), the
spans by their names, and T0, T1, ... for single tokens: a cell of the map is
T3[2].
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from weightgraft.engine.schemes import RECIPIENT, Prompt, Scheme
from weightgraft.errors import UserError
from weightgraft.inspection.folders import check_folders, named_donors
from weightgraft.inspection.question import (
    LAST,
    Spans,
    check_texts,
    default_schemes,
    read_schemes,
    read_spans,
    spans_in_turn,
    token_sets,
)
from weightgraft.notes import gathered
from weightgraft.output import check_writable, say, sayable, written

PICTURES = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Asked:
    """text: what the models read. words: the text of a token."""

    text: str
    prompt: Prompt
    schemes: list[Scheme]
    words: Callable[[int], str]
    device: Any  # a torch.device


def model_options(parser: argparse.ArgumentParser) -> None:
    """The options that say which models are asked, and how they are run."""
    add = parser.add_argument
    add("--recipient", type=_folder, required=True, metavar="DIR", help="the pretrained model: PRE")
    add(
        "--donor",
        nargs="+",
        action="extend",
        required=True,
        metavar="NAME=DIR",
        help="finetuned models or LoRA adapters; the first is SFT, serves schemes that name none, and the map",
    )
    add("--dtype", choices=("float32", "bfloat16", "float16"), default="float32", help="of weights (float32)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: the GPU where there is one")


def _folder(text: str) -> Path:
    # As of a variable of the shell that is not set; Path would take it for the current directory.
    if not text.strip():
        raise UserError("--recipient is empty; give the pretrained model's directory, . for the current one")
    return Path(text)


def span_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--span",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=TEXT",
        help="a position set: a text that is in the prompt once, or NAME=start:end in characters",
    )


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="weightgraft inspect",
        usage="weightgraft inspect --recipient DIR --donor NAME=DIR\n"
        "                           --prompt TEXT --target TEXT [options]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    model_options(parser)
    add = parser.add_argument
    add("--prompt", required=True, metavar="TEXT", help="what both models are asked")
    add("--chat", action="store_true", help="the prompt is a user's turn, in the tokenizer's chat template")
    add("--target", required=True, metavar="TEXT", help="what should follow, with its space in front")
    add("--foil", metavar="TEXT", help="a wrong answer to compare logits with")
    span_option(parser)
    add(
        "--scheme",
        nargs="+",
        action="extend",
        default=[],
        metavar="NOTATION",
        help="instead of the default schemes, such as 'FE+LT' 'O+FFN@LT[second_half]' 'task:ATTN@FE, LT' 'SFT, cut LT<-FE'",
    )
    add(
        "--out",
        type=Path,
        default=Path("inspect.png"),
        metavar="FILE",
        help="the picture: png, svg or pdf (inspect.png)",
    )
    add("--json", action="store_true", help="everything as one JSON document on stdout")
    return parser.parse_args(arguments)


def check_out(path: Path) -> None:
    """That a picture can be written there.

    Raises:
        UserError: the ending is unknown, or no file can be written there.
    """
    if path.suffix.lower() not in PICTURES:
        raise UserError(f"--out {path}: ends in {path.suffix!r}; choose from {', '.join(PICTURES)}")
    check_writable(f"--out {path}", path)


def asked(args: argparse.Namespace, donors: dict[str, Path], spans: Spans, notations: Sequence[str]) -> Asked:
    """The question in tokens, once tokenizers agree and the models' configs and the schemes have been found to fit."""
    # torch and transformers take seconds to import: what could be checked without them has been.
    from weightgraft.engine.chat import render_turn
    from weightgraft.engine.encoding import encode_prompt
    from weightgraft.inspection.tokens import token_text
    from weightgraft.loading import models, tokenizers

    device = models.chosen_device(args.device)
    models.be_quiet()
    loaded = tokenizers.load_tokenizers(args.recipient, donors)
    tokenizer = loaded[RECIPIENT]
    text, start = args.prompt, 0
    if args.chat:
        with models.one_line_errors(f"--chat: --recipient {args.recipient}: "):
            text, start = render_turn(tokenizer, args.prompt)
    placed = spans_in_turn(spans, args.prompt, text, start)
    with models.one_line_errors():
        prompt = encode_prompt(
            tokenizer, text, args.target, placed, args.foil, add_special_tokens=not args.chat
        )
    continued = [text + end for end in (args.target, args.foil) if end is not None]
    tokenizers.check_asked(loaded, [text, *continued], special=not args.chat)
    prompt = replace(prompt, positions={**prompt.positions, **token_sets(len(prompt.tokens))})
    schemes = read_schemes(notations, list(donors), spans, len(prompt.tokens))
    models.rehearse(args.recipient, donors, prompt, schemes)
    return Asked(text, prompt, schemes, partial(token_text, tokenizer), device)


def inspected(
    args: argparse.Namespace, donors: dict[str, Path], spans: Spans, question: Asked
) -> Iterator[dict[str, Any]]:
    """The document (document.py), as it grows: with the table's rows, then with the map as well."""
    import torch

    from weightgraft.inspection import document, measure
    from weightgraft.loading import models

    grafted = models.load_grafted(args.recipient, donors, getattr(torch, args.dtype), question.device)
    hint = "" if args.dtype == "float32" else "; try --dtype float32"
    with measure.running(hint):
        scores, top = measure.score_schemes(grafted, question.prompt, question.schemes)
    pre, sft = scores.joint_logprob[0, :2].tolist()
    found = {
        "recipient": str(args.recipient),
        "donors": {name: str(folder) for name, folder in donors.items()},
        "dtype": args.dtype,
        "device": str(question.device),
        "prompt": question.text,
        "target": args.target,
        "foil": args.foil,
        **document.token_entries(question.prompt, [*spans, LAST], question.words),
        "warning": document.warning(pre, sft),
        "schemes": document.scheme_rows(question.schemes, scores, top, question.words),
    }
    yield found
    with measure.running(hint):
        cells = measure.score_map(grafted, question.prompt, next(iter(donors)))
    yield found | {
        "map": document.map_entry(cells, next(iter(donors)), pre, sft),
        "picture": str(args.out),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    args = parsed(arguments)
    check_out(args.out)
    donors = named_donors(args.donor)
    check_texts(args.prompt, args.target, args.foil)
    spans = read_spans(args.span, args.prompt)
    notations = args.scheme or default_schemes(spans, list(donors))
    read_schemes(notations, list(donors), spans)
    with gathered() as notes:
        check_folders(args.recipient, donors)
        question = asked(args, donors, spans, notations)
        steps = inspected(args, donors, spans, question)
        found = next(steps) | {"notes": notes}
        if not args.json:
            from weightgraft.inspection.table import table_lines

            # At once: the map takes longer.
            say("\n".join(table_lines(found)))
        found = next(steps) | {"notes": notes}

    from weightgraft.inspection.document import headline
    from weightgraft.inspection.picture import save_picture

    with written(f"--out {args.out}", args.out) as file:
        save_picture(found, file)
    last = f"wrote {args.out}; {headline(found)}"
    if args.json:
        document = json.dumps(found, indent=2, ensure_ascii=False)
        say(document if sayable(document) else json.dumps(found, indent=2))
        print(last, file=sys.stderr)
    else:
        say(f"\n{last}")
