"""The trainings of make beyond's articles: a base that has read articles too, finetuned on articles about new facts; and its twin.

The twin reads short texts about the same facts, in forms that no prompt asks word for word (forms.py): as many updates of as many
tokens each. So neither has read a question of the study.
"""

import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from stages.commands.articles import Grammar, article_texts, read_grammar
from stages.commands.forms import texts_of, untested_forms
from stages.commands.kept_points import Training, finetune_settings, train_keeping, updates_of
from stages.frame.rows import read_jsonl
from stages.modeling.models import build_model, load_model, set_up, share_recalled, weights_digest
from stages.modeling.order import text_order
from stages.modeling.training import begin, fingerprint, tokenize_texts
from stages.study.checking.beyond import PLACES
from weightgraft.errors import UserError

DATA = Path("data")
ARTICLES, SHORT = "articles", "short"  # the two trainings, and what their points are called
CLOSE = 0.01  # the twin reads as many tokens as the articles have, but for this share
EVERY_TEXT = {"directions": ["ab", "ba"], "halves": ["a", "b"]}


class Base(NamedTuple):
    """What a base is made of. own: the model's settings of pretraining, for this base; origin: folder of what it begins as."""

    own: dict[str, Any]
    origin: Path
    texts: list[str]
    tokenizer: PreTrainedTokenizerBase
    seed: int
    positions: int

    @property
    def run(self) -> str:
        return fingerprint(self.own, weights_digest(self.origin), self.texts, self.seed)


def base_of(wanted: Mapping[str, Any], own: Mapping[str, Any], origin: Path, facts: Path, seed: int) -> Base:
    """A base that begins as the model's own, with more places and words, and reads on: that one's texts, and articles on its casts.

    From the start it would take as long again until it knew its casts. A name has the tokens that it has in the study.

    wanted: params.yaml's beyond.articles. own: the model's settings of pretraining. facts: folder of generate_facts.
    """
    texts = [row["text"] for row in read_jsonl(facts / f"texts/base_{own['base_forms']}.jsonl")]
    told = read_jsonl(facts / "facts/base.jsonl")
    texts += article_texts(told, _grammar(), wanted["base_articles"], seed, EVERY_TEXT)
    places = dict.fromkeys((key for key in PLACES if key in own["architecture"]), wanted["positions"])
    more = {
        "architecture": {**own["architecture"], **places},
        "pretrain": {**own["pretrain"], "num_train_epochs": wanted["base_epochs"]},
    }
    tokenizer = with_words(AutoTokenizer.from_pretrained(origin, local_files_only=True), texts)
    return Base({**own, **more}, origin, texts, tokenizer, seed, wanted["positions"])


def with_words(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """The byte-level BPE tokenizer with each word of the texts that is written small as one token: an article has a third fewer.

    A merge of its own puts a word's next piece to its beginning, after all other merges. A name is written large: no such merge
    is about one, and it keeps its tokens.
    """
    spelled = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary, merges = spelled["model"]["vocab"], spelled["model"]["merges"]
    for word in sorted({word for text in texts for word in re.findall(r" [a-z]+\b", text)}):
        begun, *pieces = tokenizer.tokenize(word)
        for piece in pieces:
            if begun + piece not in vocabulary:
                vocabulary[begun + piece] = len(vocabulary)
            if [begun, piece] not in merges:
                merges.append([begun, piece])
            begun += piece
    special = {name: getattr(tokenizer, name) for name in ("bos_token", "eos_token", "pad_token")}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(spelled)), **special)


def _grammar() -> Grammar:
    return read_grammar(DATA / "beyond/articles.yaml", DATA / "templates")


def begun(base: Base) -> PreTrainedModel:
    """The model as it begins: its origin's weights; a table of places (GPT-2) or tokens has more rows, which are new."""
    model = build_model(base.own["family"], base.own["architecture"], base.tokenizer)
    weights = load_model(base.origin)[0].state_dict()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor[: len(weights[name])] = weights[name]
    return model


def pretrained(base: Base, checkpoint: Path) -> Path:
    """The folder of the trained base, within `checkpoint`: a killed run goes on, and a base that is whole is not trained again."""
    own, run = base.own, base.run
    updates = updates_of(own["pretrain"], len(base.texts))
    folder = checkpoint / "base"
    begin(checkpoint, run)  # a base of another run goes away
    if not folder.is_dir():
        set_up(base.seed, own["threads"])
        train_keeping(
            *(begun(base), base.tokenizer, base.texts, own["pretrain"], own["device"], base.seed, checkpoint),
            run=run,
            at={updates: folder},
        )
    return folder


def described(base: Base, folder: Path, training: Training, facts: Path) -> dict[str, Any]:
    """What is told of a training: its texts, updates and tokens; and the share of its own casts that the base recalls, top-1, asked
    as the stage pretrain asks."""
    prompts = read_jsonl(facts / f"recall/{base.own['base_forms']}.jsonl")
    (updates,), size = training.points, training.settings["batch_size"]
    lengths = lengths_of(training.texts, base.tokenizer, base.positions)
    return {
        **{"texts": len(training.texts), "batch_size": size, "updates": updates},
        "tokens": tokens_read(lengths, size, updates, base.seed),
        "base_recall": round(share_recalled(load_model(folder)[0], base.tokenizer, prompts, k=1), 4),
    }


def lengths_of(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, most: int) -> list[int]:
    """Tokens of each text, with the one that ends it.

    Raises:
        UserError: one has more than `most`, the places of the model.
    """
    lengths = [len(row["input_ids"]) for row in tokenize_texts(texts, tokenizer)]
    if max(lengths) > most:
        raise UserError(f"beyond.articles.positions is {most}; a text has {max(lengths)} tokens")
    return lengths


def tokens_read(lengths: Sequence[int], batch_size: int, updates: int, seed: int) -> int:
    """Tokens that a training reads in so many updates: texts of these lengths, in the order in which the Trainer takes them."""
    an_epoch = math.ceil(len(lengths) / batch_size)
    whole, rest = divmod(updates, an_epoch)
    last = text_order(lengths, batch_size, seed, whole)[: rest * batch_size]
    return whole * sum(lengths) + sum(lengths[place] for place in last)


def twin_of(lengths: Sequence[int], tokens: int, updates: int, seed: int) -> tuple[int, list[int], float]:
    """(batch size, texts that an epoch has twice, excess): texts of these lengths make as many tokens of so many updates, but for a
    share `excess`.

    A batch is a whole number of texts; the last one of an epoch may be short, and is made as long as it must be by texts again.
    """
    texts, an_update = len(lengths), tokens / updates / (sum(lengths) / len(lengths))
    order = random.Random(f"{seed} twin").sample(range(texts), texts)
    found = []
    for size in {max(1, math.floor(an_update)), math.ceil(an_update)}:
        least = math.ceil(texts / size)
        for batches in range(least, least + 4):
            number = min(max(round(batches * an_update), texts, (batches - 1) * size + 1), batches * size)
            again = order[: number - texts]
            read = tokens_read([*lengths, *(lengths[place] for place in again)], size, updates, seed)
            found.append((round(abs(read / tokens - 1), 3), len(again), size, read / tokens - 1))
    _, number, size, excess = min(found)
    return size, order[:number], excess


def article_trainings(
    wanted: Mapping[str, Any], item: Mapping[str, Any], base: Base, facts: Path
) -> list[Training]:
    """The two trainings. item: settings of finetuning, of the model and the recipe.

    Raises:
        UserError: a text is too long, or no batch of short texts makes as many tokens of as many updates, within CLOSE.
    """
    recipe, rows = item["recipe"], read_jsonl(facts / f"facts/{item['recipe']['dataset']}.jsonl")
    forms = untested_forms(DATA / "templates", DATA / "beyond/forms.yaml")
    articles = article_texts(rows, _grammar(), wanted["articles"], base.seed, recipe)
    short = texts_of(rows, forms, recipe)
    long, few = (lengths_of(texts, base.tokenizer, base.positions) for texts in (articles, short))
    size = wanted["batch_size"]
    updates = math.ceil(len(articles) / size) * wanted["epochs"]
    tokens = tokens_read(long, size, updates, base.seed)

    size_short, again, excess = twin_of(few, tokens, updates, base.seed)
    if abs(excess) > CLOSE:
        raise UserError(
            f"beyond.articles.batch_size is {size}: no number of short texts makes as many tokens ({size_short}: {excess:+.1%}); "
            "with a larger one it can"
        )
    short += [short[place] for place in again]
    settings = finetune_settings(item["model"]["finetune"], recipe)
    return [
        Training(name, texts, {**settings, "batch_size": number, "max_steps": updates}, {updates: name})
        for name, texts, number in ((ARTICLES, articles, size), (SHORT, short, size_short))
    ]
