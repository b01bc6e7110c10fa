"""The Python lines that reproduce an answer of the explorer."""

from weightgraft import Prompt, Scheme, __version__
from weightgraft.explorer.models import Encoded, Models
from weightgraft.explorer.questions import Question
from weightgraft.inspection.question import LAST, TOKEN_SET, spans_in_turn

LINES = """\
# weightgraft {version}: {scheme} on one prompt
{imports}
recipient, donors = Path({recipient!r}), {{{donors}}}
grafted = load_grafted(recipient, donors, torch.{dtype}, torch.device({device!r}))
tokenizer = AutoTokenizer.from_pretrained(recipient)
prompt = encode_prompt(
    tokenizer, {text!r}, {target!r},
    {spans!r},{foil}{special}
)
{singles}schemes = [parse_scheme(text, donor={first!r}) for text in ("PRE", "SFT", {scheme!r})]
scores = grafted.score([prompt], schemes)
pre, sft, graft = scores.joint_logprob[0].tolist()
print(f"log-probability {{graft:.3f}}, PRE {{pre:.3f}}, SFT {{sft:.3f}}: recovered fraction {{(graft - pre) / (sft - pre):.3f}}")
"""
IMPORTS = (
    "from pathlib import Path",
    "",
    "import torch",
    "from transformers import AutoTokenizer",
    "",
    "from weightgraft import encode_prompt, parse_scheme",
    "from weightgraft.loading.models import load_grafted",
    "",
)


def python_lines(models: Models, question: Question, prompt: Prompt, scheme: Scheme, known: Encoded) -> str:
    """A script that loads the same models and prints the same numbers. Single tokens (T3) are position sets of the prompt where
    the scheme names them."""
    singles = sorted((name for name in scheme.position_sets if TOKEN_SET.fullmatch(name)), key=len)
    imports, sets = list(IMPORTS), ""
    if singles:
        imports.insert(0, "from dataclasses import replace")
        places = ", ".join(f'"{name}": {prompt.positions[name]}' for name in sorted(singles, key=_number))
        sets = f"prompt = replace(prompt, positions={{**prompt.positions, {places}}})\n"
    marked = {name: members for name, members in question.spans.items() if name != LAST}
    spans = spans_in_turn(marked, question.texts.prompt, known.text, known.shift)
    return LINES.format(
        version=__version__,
        imports="\n".join(imports),
        recipient=str(models.recipient),
        donors=", ".join(f'"{name}": Path({str(folder)!r})' for name, folder in models.donors.items()),
        dtype=models.dtype,
        device=str(models.device),
        text=known.text,
        target=known.typed,
        spans=spans,
        foil="" if question.texts.foil is None else f"\n    foil={question.texts.foil!r},",
        special="\n    add_special_tokens=False," if question.texts.chat else "",
        singles=sets,
        first=next(iter(models.donors)),
        scheme=scheme.name,
    )


def _number(name: str) -> int:
    return int(name.removeprefix("T"))
