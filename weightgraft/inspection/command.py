"""Ask two checkpoints of your own where a fact comes back: a table of grafting schemes and a map of single cells.

    weightgraft inspect --recipient path/of/base --donor sft=path/of/finetuned \\
        --prompt "Ann Lee starred in Night River together with" --span FE="Ann Lee" --target " Bob"

Directories are local ones in transformers' layout, weights in safetensors; a donor may be a LoRA adapter. Position sets of
schemes: LT (the last token), the spans by their names, and T0, T1, ... for single tokens: a cell of the map is T3[2].
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from weightgraft.errors import UserError
from weightgraft.inspection.folders import check_folders, named_donors
from weightgraft.inspection.question import LAST, Spans, default_schemes, read_schemes, read_spans, token_sets
from weightgraft.notes import gathered

PICTURES = (".png", ".svg", ".pdf")


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="weightgraft inspect",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--recipient", type=Path, required=True, metavar="DIR", help="the pretrained model: PRE")
    add(
        "--donor",
        nargs="+",
        action="extend",
        required=True,
        metavar="NAME=DIR",
        help="finetuned models or LoRA adapters; the first is SFT, serves schemes that name none, and the map",
    )
    add("--prompt", required=True)
    add("--target", required=True, help="what should follow, with its space in front")
    add("--foil", help="a wrong answer to compare logits with")
    add(
        "--span",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=TEXT",
        help="a position set: a text that is in the prompt once, or NAME=start:end in characters",
    )
    add(
        "--scheme",
        nargs="+",
        action="extend",
        default=[],
        metavar="NOTATION",
        help="instead of the default schemes, such as 'FE+LT' 'O+FFN@LT[second_half]' 'task:ATTN@FE, LT'",
    )
    add("--out", type=Path, default=Path("inspect.png"), help="the picture: png, svg or pdf (inspect.png)")
    add("--json", action="store_true", help="everything as one JSON document on stdout")
    add("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return parser.parse_args(arguments)


def check_out(path: Path) -> None:
    """That a picture can be written there.

    Raises:
        UserError: the ending is unknown, or the folder does not exist.
    """
    if path.suffix not in PICTURES:
        raise UserError(f"--out {path}: ends in {path.suffix!r}; choose from {', '.join(PICTURES)}")
    if not path.parent.is_dir():
        raise UserError(f"--out {path}: there is no directory {path.parent}")


def inspected(
    args: argparse.Namespace, donors: dict[str, Path], spans: Spans, notations: Sequence[str]
) -> dict[str, Any]:
    """The document: all that is told about the question (document.py)."""
    # torch and transformers take seconds to import: what could be checked without them has been.
    import torch

    from weightgraft import encode_prompt
    from weightgraft.inspection import document, measure
    from weightgraft.inspection.tokens import token_text
    from weightgraft.loading import models

    device = models.chosen_device(args.device)
    models.be_quiet()
    tokenizer = models.load_tokenizer(args.recipient, donors)
    spaced = "; a space belongs to the target, in front" if args.prompt.endswith(" ") else ""
    with models.one_line_errors(hint=spaced):
        prompt = encode_prompt(tokenizer, args.prompt, args.target, spans, args.foil)
    length, names = len(prompt.tokens), list(donors)
    prompt = replace(prompt, positions={**prompt.positions, **token_sets(length)})
    schemes = read_schemes(notations, names, spans, length)
    models.rehearse(args.recipient, donors, prompt, schemes)
    grafted = models.load_grafted(args.recipient, donors, getattr(torch, args.dtype), device)

    def text(token: int) -> str:
        return token_text(tokenizer, token)

    hint = "" if args.dtype == "float32" else "; try --dtype float32"
    with models.one_line_errors(hint=hint):
        scores, top = measure.score_schemes(grafted, prompt, schemes)
        cells = measure.score_map(grafted, prompt, names[0])
    pre, sft = scores.joint_logprob[0, :2].tolist()
    return {
        "recipient": str(args.recipient),
        "donors": {name: str(folder) for name, folder in donors.items()},
        "dtype": args.dtype,
        "device": str(device),
        "prompt": args.prompt,
        "target": args.target,
        "foil": args.foil,
        **document.token_entries(prompt, [*spans, LAST], text),
        "warning": document.warning(pre, sft),
        "schemes": document.scheme_rows(schemes, scores, top, text),
        "map": document.map_entry(cells, names[0], pre, sft),
        "picture": str(args.out),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    args = parsed(arguments)
    check_out(args.out)
    donors = named_donors(args.donor)
    spans = read_spans(args.span, args.prompt)
    notations = args.scheme or default_schemes(spans, list(donors))
    read_schemes(notations, list(donors), spans)
    with gathered() as notes:
        check_folders(args.recipient, donors)
        found = inspected(args, donors, spans, notations)
    found["notes"] = notes

    from weightgraft.inspection.document import headline
    from weightgraft.inspection.picture import save_picture
    from weightgraft.inspection.table import table_lines

    save_picture(found, args.out)
    last = f"wrote {args.out}; {headline(found)}"
    if args.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        print(last, file=sys.stderr)
    else:
        print("\n".join([*table_lines(found), "", last]))
