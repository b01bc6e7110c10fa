"""Score the cases of an experiment with the engine, and lay scores out as the per-fact table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from transformers import PreTrainedModel

from stages.evaluation.budgets import within_memory
from stages.evaluation.chunks import Chunk, Progress, cut
from stages.evaluation.experiments import Patch, random_like
from stages.evaluation.patching import patched_sizes, score_patches
from stages.evaluation.prompts import with_random_positions
from weightgraft import GraftedModel, Prompt, Scheme, parse_scheme
from weightgraft.engine.families import family_of
from weightgraft.engine.leaves import transposed_weight
from weightgraft.engine.parts import anatomy_of, leaves_of, linear_parts
from weightgraft.engine.portions import portions
from weightgraft.engine.routes import Slot
from weightgraft.engine.scores import Scores
from weightgraft.errors import UserError


def cell_sizes(model: PreTrainedModel) -> dict[Slot, int]:
    """The number of parameters, bias included, of every (component, layer) that holds a matrix."""
    family = family_of(model.config.model_type)
    anatomy = anatomy_of(model, family)
    sizes: dict[Slot, int] = {}
    for path, leaf, places, reads in leaves_of(family, anatomy):
        module = model.get_submodule(path)
        parts = None if reads else linear_parts(path, leaf, module, places, anatomy)
        for part in parts[0] if parts else []:
            weight, bias = transposed_weight(module)
            columns = sum(end - start for start, end in part.spans)
            slot = anatomy.trunk[part.slot]
            sizes[slot] = sizes.get(slot, 0) + columns * (weight.shape[0] + (bias is not None))
    return sizes


def chunks_of(
    grafted: GraftedModel,
    parameters: int,
    experiment: str,
    prompts: Sequence[Prompt],
    schemes: Sequence[Scheme],
    patches: Sequence[Patch],
) -> list[list[Chunk]]:
    """The chunks of a question: for each part of its columns, schemes before patches, those of its prompts.

    parameters: of one of the models.
    """
    longest = max(prompts, key=lambda prompt: len(prompt.tokens))
    cuts = []
    for part in portions(grafted, schemes, longest):
        tokens = grafted.node_counts([longest], part)[0] // grafted.anatomy.n_layers
        cuts.append(cut(experiment, prompts, part, tokens * parameters))
    if patches:
        most = max(patched_sizes(prompts, patches))
        cuts.append(cut(experiment, prompts, tuple(patches), most * parameters))
    return cuts


def score_chunk(
    chunk: Chunk,
    grafted: GraftedModel,
    models: tuple[PreTrainedModel, PreTrainedModel | None],
    budget: int,
    label: str,
    progress: Progress,
) -> tuple[Scores, int]:
    """(scores, the budget they took), as budgets.within_memory. models: the recipient, and the donor of patches.

    Raises:
        UserError: a score is not a finite number; or out of memory with one prompt a pass.
    """
    recipient, donor = models
    schemes = tuple(column for column in chunk.columns if isinstance(column, Scheme))
    patches = tuple(column for column in chunk.columns if isinstance(column, Patch))

    def attempt(tokens: int) -> Scores:
        if donor is not None and patches:
            return score_patches(recipient, donor, chunk.prompts, patches, tokens, progress)
        return grafted.score(chunk.prompts, schemes, token_budget=tokens, progress=progress)

    def sizes() -> list[int]:
        if patches:
            return patched_sizes(chunk.prompts, patches)
        return grafted.row_counts(chunk.prompts, schemes)

    label = f"{label}: {chunk.experiment}"
    try:
        return within_memory(attempt, budget, sizes, label)
    except FloatingPointError as error:
        raise UserError(
            f"{label}: {error}; models.*.dtype: float32 and bfloat16 have the wider range"
        ) from error


def base_answers(
    grafted: GraftedModel, prompts: Sequence[Prompt], budget: int, label: str
) -> tuple[list[int], int]:
    """(the token that the recipient itself would say next, a prompt each; the budget it took)."""
    pre = [parse_scheme("PRE")]
    asked = [replace(prompt, target=prompt.target[:1]) for prompt in prompts]
    scores, budget = within_memory(
        lambda tokens: grafted.score(asked, pre, token_budget=tokens),
        budget,
        lambda: grafted.row_counts(asked, pre),
        label,
    )
    return scores.top1_token.flatten().tolist(), budget


def against(prompts: Sequence[Prompt], answers: Sequence[int]) -> list[Prompt]:
    """Prompts whose foil is what the recipient itself would say next. Where that is the target, the foil stays another fact's."""
    return [
        prompt if answer == prompt.target[0] else replace(prompt, foil=answer)
        for prompt, answer in zip(prompts, answers, strict=True)
    ]


def score_table(
    rows: Sequence[Mapping], names: Sequence[tuple[str, int]], scores: Scores, tokenizer: Any, whole: bool
) -> pd.DataFrame:
    """One row per (prompt, scheme, draw): how the model ranks the target. Nothing is dropped.

    names: (scheme, draw) of each column of the scores. whole: whether all tokens of the targets were scored; if not, whether
    the answer is an exact match is not known, and exact_match is missing.
    """
    described = pd.DataFrame(rows)[["prompt", "template", "template_split", "direction", "fact_id"]]
    table = described.loc[described.index.repeat(len(names))].reset_index(drop=True)
    table["scheme"] = [name for name, _ in names] * len(rows)
    table["draw"] = [draw for _, draw in names] * len(rows)
    for column in ("target_rank", "target_logprob", "target_logit", "foil_logit", "watched_mass"):
        table[column] = getattr(scores, column).flatten().numpy()
    matches = pd.Series(scores.exact_match.flatten().numpy(), dtype="boolean")
    table["exact_match"] = matches if whole else pd.Series(pd.NA, index=table.index, dtype="boolean")
    tokens = scores.top1_token.flatten().tolist()
    words = {token: tokenizer.decode([token]) for token in set(tokens)}
    table["top1_token"] = [words[token] for token in tokens]
    return table


def questions(
    experiment: Mapping[str, Any],
    rows: Sequence[Mapping],
    prompts: Sequence[Prompt],
    settings: Mapping[str, Any],
) -> Iterator[tuple[list[Mapping], list[Prompt], bool]]:
    """What an experiment asks: (rows, prompts, whether whole targets are scored), those with whole targets first.

    Further tokens of a target cost as much as a scheme at LT does, so only the experiment's `exact_match` prompts have them.
    """
    like = random_like(experiment)
    for whole in (True, False):
        chosen = [
            (row, prompt)
            for row, prompt in zip(rows, prompts, strict=True)
            if row["prompt"] in experiment["prompts"]
            and (row["prompt"] in experiment["exact_match"]) == whole
        ]
        if not chosen:
            continue
        if like:
            chosen = [
                (row, with_random_positions(prompt, row, like, settings["draws"], settings["seed"]))
                for row, prompt in chosen
            ]
        asked_rows, engine_prompts = map(list, zip(*chosen, strict=True))
        if not whole:
            engine_prompts = [replace(prompt, target=prompt.target[:1]) for prompt in engine_prompts]
        yield asked_rows, engine_prompts, whole
