"""What params.yaml may say: its sections, keys, types and choices, as pydantic models."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator
from pydantic_core import PydanticCustomError

from stages.study.beyond_schema import Beyond
from stages.study.faults import Section
from stages.study.fields import (
    Colour,
    Count,
    Draws,
    Family,
    Name,
    Names,
    NotNegative,
    Positive,
    Resamples,
    Seed,
    Share,
    Threads,
)
from stages.study.source_schema import AnySource, Commit, Sha256


class Repeats(Section):
    models: list[Name]
    seeds: list[Seed]
    recipes: list[Name]
    setups: list[Name] = Field(default_factory=list)


class NewForm(Section):
    models: list[Name]
    recipes: list[Name]
    setups: list[Name]


class Study(Section):
    models: Names
    seeds: Annotated[list[Seed], Field(min_length=1)]
    recipes: list[Name]
    parts: list[Name]
    setups: list[Name]
    own: list[Name]  # recipes on facts of one's own
    repeats: Repeats
    new_form: NewForm


class ImdbTable(Section):
    source: Annotated[str, Field(min_length=1)]  # a URL or a local file
    sha256: Sha256 | None


class ImdbTables(Section):
    title_ratings: ImdbTable
    title_basics: ImdbTable
    title_principals: ImdbTable
    name_basics: ImdbTable


class FetchFilms(Section):
    """Real films: those of data/films.csv, or of IMDb's tables (stages/facts/imdb.py), about which all other keys are."""

    source: Literal["committed", "imdb"]
    films: Count
    min_votes: Count
    final_marks: bool  # whether a name or a title may end in a mark, such as Jr.
    timeout: Positive  # seconds
    tables: ImdbTables


class HubText(Section):
    """A dataset of the hub, read with the library `datasets` (extra `real`)."""

    dataset: Annotated[str, Field(min_length=1)]
    revision: Commit
    config: str | None
    split: Annotated[str, Field(min_length=1)]


class FileText(Section):
    file: Annotated[str, Field(min_length=1)]


class General(Section):
    """Text to mix in, in place of text about the bases' world (E6)."""

    source: HubText | FileText
    texts: Count


class GenerateFacts(Section):
    world: Literal["synthetic", "real"]
    seed: Seed
    base_facts: Count
    facts: Count
    first_names: Count
    last_names: Count
    general: General | None


class ReadFacts(Section):
    folder: Annotated[str, Field(min_length=1)]  # with facts.csv, training.yaml and prompts.yaml


class Pretrain(Section):
    seed: Seed
    early_epoch: Count


class TokenizerSettings(Section):
    vocab_size: Annotated[int, Field(ge=300, le=10**6)]
    bos: bool


class TrainingSettings(Section):
    """Arguments of transformers' TrainingArguments by their names there; batch_size: texts an update, on all devices together."""

    num_train_epochs: Positive
    batch_size: Count
    learning_rate: Positive
    weight_decay: NotNegative
    warmup_steps: Seed
    bf16: bool = False
    gradient_checkpointing: bool = False
    gradient_accumulation_steps: Count = 1


class RecipeChange(Section):
    learning_rate_factor: Positive | None = None
    epochs_factor: Positive | None = None


class Model(Section):
    family: Family
    threads: Threads | None  # None: torch's own choice
    device: Literal["cpu", "cuda", "auto"]
    dtype: Literal["float32", "bfloat16", "float16"]  # of the weights as they are kept and evaluated
    base_forms: Literal["all", "article"]
    source: AnySource | None = None  # then there is no tokenizer and no pretrain
    architecture: dict[str, Any] = Field(
        default_factory=dict
    )  # checked by stages/study/checking/architectures.py
    tokenizer: TokenizerSettings | None = None
    pretrain: TrainingSettings | None = None
    finetune: TrainingSettings
    # What this model does otherwise in a recipe.
    recipes: dict[Name, RecipeChange] = Field(default_factory=dict)


class Lora(Section):
    r: Count
    lora_alpha: Count


class Recipe(Section):
    dataset: Literal["fmfa", "fmra", "rmra_shuffled", "own"]
    directions: Annotated[list[Literal["ab", "ba"]], Field(min_length=1)]
    halves: Annotated[list[Literal["a", "b"]], Field(min_length=1)]
    learning_rate_factor: Positive
    epochs_factor: Positive
    weight_decay: NotNegative | None
    base_text_share: Share
    lora: Lora | None
    frozen: list[Literal["embed", "unembed"]] = Field(default_factory=list)  # what is not trained


class Watched(Section):
    """Facts of whose answers' first tokens the probability is told, beside the facts that are asked."""

    dataset: Literal["fmfa", "fmra", "rmra_shuffled", "base"]
    halves: Annotated[list[Literal["a", "b"]], Field(min_length=1)]


class Experiment(Section):
    prompts: Names | Literal["own"]  # own: every prompt of read_facts.folder
    exact_match: list[Name] | Literal["own"]  # of these the whole target is scored, not its first token
    foil: Literal["other_fact", "base_answer"] = "other_fact"  # what the logit of the target is compared with
    watched: Watched | None = None
    schemes: Any  # checked by stages/study/checking/schemes.py


class MadeDonor(Section):  # of a donor of the setup and its recipient, by either (engine/mixtures.py)
    of: Name
    strength: NotNegative | None = None
    like: str | None = None  # a position expression: as many parameters x tokens


class Setup(Section):
    dataset: Literal["fmfa", "fmra", "rmra_shuffled", "base", "own"]
    halves: Annotated[list[Literal["a", "b"]], Field(min_length=1)]
    facts: Literal["all", "half_known"] = "all"
    # Facts of this dataset whose people are in none of that one.
    unnamed_in: Literal["fmfa", "fmra", "rmra_shuffled"] | None = None
    recipient: Name  # base, early, or a recipe
    # Donor -> base, early, or a recipe; the first serves SFT.
    donors: Annotated[dict[Name, Name], Field(min_length=1)]
    made_donors: dict[Name, MadeDonor] = Field(default_factory=dict)
    experiments: Names
    leave_out: list[Name]  # prompts of its experiments that are not asked here


def number_or_auto(value: object) -> object:
    if value == "auto" or (type(value) is int and 1 <= value <= 10**9):
        return value
    raise PydanticCustomError("token_budget", "valid: a number of tokens, 1 to 10^9, or 'auto'")


# Tokens of one pass; auto: what fits the free memory of the device (stages/evaluation/budgets.py).
TokenBudget = Annotated[int | str, PlainValidator(number_or_auto)]


class GraftSettings(Section):
    token_budget: TokenBudget
    directions: Annotated[list[Literal["ab", "ba"]], Field(min_length=1)]
    draws: Draws
    half_known_share: Annotated[float, Field(gt=0, lt=1)]
    seed: Seed


class Summarize(Section):
    seed: Seed
    resamples: Resamples
    maps: dict[Name, Names]  # experiment -> metrics
    answers: list[Name] = Field(default_factory=list)  # experiments whose answers are counted by kind


class JudgeClaims(Section):
    seed: Seed
    resamples: Resamples


class FigureSettings(Section):
    """A figure: what kind of page of which setups, by which metric (stages/study/checking/figures.py has what fits what)."""

    draws: Literal[
        "schematic", "positions", "own_positions", "metrics", "setups", "paraphrases", "families", "title", "unembedding",
        "layers_only", "necessity", "collateral", "answers", "components", "hybrid", "hybrid_components", "patching", "controls",
        "new_form", "component_map", "position_map", "strength", "static", "knock_out",
    ]  # fmt: skip
    setup: Any = None  # a setup's name or a list of names; the schematic has none
    model: Name | None = (
        None  # of `real`: the page is of this one alone, and is drawn once make real has run it
    )
    metric: Literal[
        "top1_accuracy", "top5_accuracy", "top10_accuracy", "top20_accuracy", "top50_accuracy", "top100_accuracy",
        "mean_probability", "recovered_top5", "recovered_logprob", "recovered_logit_difference"
    ] | None = None  # fmt: skip


class RenderFigures(Section):
    figures: Annotated[dict[Name, FigureSettings], Field(min_length=1)]
    counterparts: dict[Name, str]
    colours: dict[str, Colour]


def starts_python(value: str) -> str:
    if re.fullmatch(r"(\S[^\n;|&<>`$]* )?(python|accelerate launch( [^\n;|&<>`$]*)?)", value):
        return value
    valid = "python, or accelerate launch with its options, behind any prefix (srun, ...); one command: no ; | & < > ` $"
    raise PydanticCustomError("launch", f"valid: {valid}")


Starter = Annotated[str, AfterValidator(starts_python)]


class Launch(Section):
    """What starts a stage: python, or accelerate launch with its options, behind any prefix (srun with its options)."""

    train: Starter
    graft: Starter


class Params(Section):
    study: Study
    launch: Launch
    fetch_films: FetchFilms
    generate_facts: GenerateFacts
    read_facts: ReadFacts
    pretrain: Pretrain
    models: dict[Name, Model]
    families: Annotated[dict[Name, str], Field(min_length=2)]
    recipes: dict[Name, Recipe]
    graft: GraftSettings
    setups: dict[Name, Setup]
    experiments: dict[Name, Experiment]
    summarize: Summarize
    judge_claims: JudgeClaims
    render_figures: RenderFigures
    beyond: Beyond
    # make real: a model -> what is otherwise in its study, by dotted key
    real: dict[Name, dict[str, Any]] = Field(default_factory=dict)
