"""Claims as data: what data/claims.yaml may say, and whether the study evaluates what they speak of. No pandas, no scipy."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field
from ruamel.yaml import YAMLError

from stages.analysis.metrics import METRICS
from stages.study.faults import Section, choices, parsed
from stages.study.params import read_yaml
from stages.study.schema import Family, Name, Names, Positive
from weightgraft.errors import UserError

Rule = Literal["at_least", "at_most", "above", "below", "not_above", "about"]
SchemeName = Annotated[str, Field(min_length=1)]
# A median's bootstrap is no function of means, which is what verdicts.py resamples.
JUDGED = [name for name, (_, kind) in METRICS.items() if kind != "median"]
KindOfText = Literal["articles", "short"]  # the points of the study articles
SHOWN_CHOICES = 12  # a map has hundreds of schemes, and an error is one line


class Condition(Section):
    scheme: SchemeName
    rule: Rule
    threshold: float


class Part(Section):
    """One comparison; it gets a verdict on each of its prompts and metrics. claims.yaml explains the keys."""

    setup: Name
    experiment: Name
    scheme: SchemeName | None = None
    order: Annotated[list[SchemeName], Field(min_length=3)] | None = None
    each: Annotated[list[SchemeName], Field(min_length=2)] | None = None
    times: Positive = 1.0
    than: SchemeName | list[SchemeName] | None = None
    than_setup: Name | None = None
    rule: Rule
    threshold: float
    prompts: Names
    metrics: Names
    split: Literal["seen", "held_out"] | None = None
    families: Names | None = None
    where: Condition | None = None

    @property
    def compared(self) -> list[str]:
        """The schemes whose values are compared: one, or all of `order` or `each`."""
        return self.order or self.each or [self.scheme or ""]

    @property
    def references(self) -> list[str]:
        """The schemes they are compared with; none where it is with the threshold alone."""
        if self.than is None:
            return self.order or self.each or []
        return [self.than] if isinstance(self.than, str) else self.than

    @property
    def setups(self) -> list[str]:
        return list(dict.fromkeys([self.setup, self.than_setup or self.setup]))

    def schemes_of(self, setup: str) -> list[str]:
        """The schemes that this part takes from one of its setups."""
        own = self.compared + ([self.where.scheme] if self.where else []) if setup == self.setup else []
        return own + (self.references if setup == self.setups[-1] else [])

    def words(self, metric: str) -> str:
        """The comparison in words, such as "r(FE+LT) above max(r(FE), r(LT))"."""
        form = "r({})" if metric.startswith("recovered") else "{}"
        rule = self.rule.replace("_", " ")
        elsewhere = f" in {self.than_setup}" if self.than_setup else ""
        if listed := self.order or self.each:
            here = f" in {self.setup}" if self.than_setup else ""
            first, last = f"{listed[0]}, ...{here}", f"{self.references[0]}, ...{elsewhere}"
            what = "rank correlation" if self.order else "largest difference"
            return f"{what} of {len(listed)} schemes, {first} and {last}: {rule} {self.threshold:g}"
        names = [form.format(name) + elsewhere for name in self.references]
        right = f"max({', '.join(names)})" if len(names) > 1 else "".join(names) or f"{self.threshold:g}"
        if self.times != 1:
            right = f"{self.times:g} * {right}"
        if names and self.rule == "about":
            right += f", within {self.threshold:g}"
        if self.where:
            condition = f"{self.where.rule.replace('_', ' ')} {self.where.threshold:g}"
            right += f", where {form.format(self.where.scheme)} is {condition}"
        return f"{form.format(self.scheme)} {rule} {right}"


class Claim(Section):
    id: Annotated[str, Field(pattern=r"^[A-Z][0-9]+$")]
    beside: str | None = None  # the claim that it is another form of: shown below it
    text: Annotated[str, Field(min_length=1)]
    comparison: Annotated[str, Field(min_length=1)]
    parts: Annotated[list[Part], Field(min_length=1)]

    def parts_about(self, family: str) -> list[Part]:
        return [part for part in self.parts if part.families is None or family in part.families]


class RunPart(Section):
    """One comparison that gives a number a run, judged over runs; it gets a verdict on each of its prompts and metrics.

    measure: what the number is (stages/analysis/over_runs.py); point, than_point: which of the study's points `known` is about;
    least_runs: with fewer the part is undecided.
    """

    study: Literal["trajectory", "texts", "articles"]  # of params.yaml's beyond
    setup: Name
    experiment: Name
    measure: Literal["first_known", "slope", "known"]
    scheme: SchemeName
    than: SchemeName | None = None
    point: KindOfText | None = None
    than_point: KindOfText | None = None
    rule: Rule
    threshold: float
    least_runs: Annotated[int, Field(ge=2)]
    prompts: Names
    metrics: Names

    def words(self, metric: str) -> str:
        """The comparison in words, such as "r(LT) - r(FE), first known: above 0"."""
        form = "r({})" if metric.startswith("recovered") else "{}"
        what = " - ".join(form.format(name) for name in (self.scheme, self.than) if name)
        known = " minus that of ".join(filter(None, [self.point, self.than_point]))
        kind = {
            "first_known": "where SFT first knows the facts",
            "slope": "slope over log forms",
            "known": f"finetuned on {known}",
        }[self.measure]
        return f"{what}, {kind}: {self.rule.replace('_', ' ')} {self.threshold:g}"


class RunClaim(Section):
    """A claim about several trainings of a kind (make beyond)."""

    id: Annotated[str, Field(pattern=r"^[A-Z][0-9]+$")]
    text: Annotated[str, Field(min_length=1)]
    comparison: Annotated[str, Field(min_length=1)]
    parts: Annotated[list[RunPart], Field(min_length=1)]


class PublishedTable(Section):
    """Where the paper's values of an experiment are: datasets by setup, and what its scheme names lack."""

    file: str
    datasets: dict[Name, str]
    suffix: str = ""


class Claims(Section):
    published: dict[Name, PublishedTable]
    claims: Annotated[list[Claim], Field(min_length=1)]
    over_runs: list[RunClaim] = Field(default_factory=list)


def side_by_side(claims: Sequence[Claim]) -> list[Claim]:
    """Each claim, and right after it those that are other forms of it."""
    first = [claim for claim in claims if claim.beside is None]

    def forms(claim: Claim) -> list[Claim]:
        others = [other for other in claims if other.beside == claim.id]
        return [claim, *(form for other in others for form in forms(other))]

    return [form for claim in first for form in forms(claim)]


# setup -> experiment -> (its prompts, the names of its schemes): what the study evaluates
Evaluated = Mapping[str, Mapping[str, tuple[Sequence[str], Sequence[str]]]]


def read_claims(path: Path) -> Claims:
    """Read claims.yaml; a part that names no prompts or metrics gets those of `defaults`.

    Raises:
        UserError: no such file, no YAML, an unknown key, a wrong value, an unknown metric.
    """
    try:
        values = read_yaml(path)
    except (OSError, YAMLError) as error:
        raise UserError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: no claims in it")
    defaults = values.pop("defaults", None) or {}
    for claim in [*(values.get("claims") or []), *(values.get("over_runs") or [])]:
        if isinstance(claim, dict) and isinstance(claim.get("parts"), list):
            claim["parts"] = [
                {**defaults, **part} if isinstance(part, dict) else part for part in claim["parts"]
            ]
    claims = parsed(Claims, values, (path.name,))
    for i, claim in enumerate(claims.claims):
        before = [other.id for other in claims.claims[:i]]
        if claim.id in before:
            raise UserError(f"{path.name}: claim {claim.id} is there twice")
        if claim.beside and claim.beside not in before:
            raise UserError(
                f"{path.name}: {claim.id}: beside is {claim.beside!r}; {choices(claim.beside, before)}"
            )
        for part in claim.parts:
            _check_form(f"{path.name}: {claim.id}", part)
    ids = [claim.id for claim in claims.claims]
    for run_claim in claims.over_runs:
        if run_claim.id in ids:
            raise UserError(f"{path.name}: claim {run_claim.id} is there twice")
        ids.append(run_claim.id)
        for run_part in run_claim.parts:
            _check_metrics(f"{path.name}: {run_claim.id}", run_part.metrics)
            _check_points(f"{path.name}: {run_claim.id}", run_part)
    return claims


def _check_form(key: str, part: Part) -> None:
    """Keys that fit together, metrics that exist."""
    kinds = [name for name in ("scheme", "order", "each") if getattr(part, name) is not None]
    if len(kinds) != 1:
        raise UserError(f"{key}: a part has either scheme or order or each, this has {part.compared}")
    if (kind := kinds[0]) != "scheme":
        if len(part.references) != len(part.compared):
            raise UserError(f"{key}: {kind} has {len(part.compared)} schemes, than {len(part.references)}")
        if part.than is None and part.than_setup is None:
            raise UserError(f"{key}: {kind} needs than or than_setup: it is compared with itself")
        if part.where or part.times != 1:
            raise UserError(f"{key}: {kind} goes with neither where nor times")
    elif not part.references and (part.than_setup or part.times != 1):
        raise UserError(
            f"{key}: than_setup and times need than: with which scheme is {part.scheme!r} compared?"
        )
    _check_metrics(key, part.metrics)


def _check_metrics(key: str, metrics: Iterable[str]) -> None:
    for metric in metrics:
        if metric not in JUDGED:
            raise UserError(f"{key}: metric is {metric!r}; {choices(metric, JUDGED)}")


def _check_points(key: str, part: RunPart) -> None:
    """`known` is about points of the study articles; the other measures find theirs."""
    known = part.measure == "known"
    fits = bool(part.point) == known and (known or not part.than_point)
    if not fits or (part.study == "articles") != known or (known and part.than):
        raise UserError(
            f"{key}: measure known, study articles and point go together, with than_point in place of than"
        )


def check_claims(claims: Claims, evaluated: Evaluated) -> None:
    """Does the study evaluate everything that the claims speak of?

    Raises:
        UserError: an unknown setup, experiment, prompt, scheme or family, in one line that names the claim.
    """
    for claim in claims.claims:
        key = f"claim {claim.id}"
        for part in claim.parts:
            for family in part.families or []:
                if family not in get_args(Family):
                    raise UserError(f"{key}: family is {family!r}; {choices(family, get_args(Family))}")
            for setup in part.setups:
                _known(f"{key}: setup", setup, evaluated)
                _known(f"{key}: experiment of setup {setup}", part.experiment, evaluated[setup])
                prompts, schemes = evaluated[setup][part.experiment]
                for prompt in part.prompts:
                    _known(f"{key}: prompt of experiment {part.experiment}", prompt, prompts)
                for scheme in part.schemes_of(setup):
                    _known(f"{key}: scheme of experiment {part.experiment}", scheme, schemes)
    for run_claim in claims.over_runs:
        for run_part in run_claim.parts:
            _check_run_part(f"claim {run_claim.id}", run_part, evaluated)
    run = {experiment for experiments in evaluated.values() for experiment in experiments}
    for name, source in claims.published.items():
        _known("published: experiment", name, run)
        for setup in source.datasets:
            _known(f"published: {name}: setup", setup, evaluated)


def _check_run_part(key: str, part: RunPart, evaluated: Evaluated) -> None:
    _known(f"{key}: setup", part.setup, evaluated)
    _known(f"{key}: experiment of setup {part.setup}", part.experiment, evaluated[part.setup])
    prompts, schemes = evaluated[part.setup][part.experiment]
    for prompt in part.prompts:
        _known(f"{key}: prompt of experiment {part.experiment}", prompt, prompts)
    for scheme in filter(None, (part.scheme, part.than)):
        _known(f"{key}: scheme of experiment {part.experiment}", scheme, schemes)


def _known(key: str, value: str, valid: Iterable[Any]) -> None:
    valid = sorted({str(name) for name in valid})
    if value in valid:
        return
    shown = valid
    if len(valid) > SHOWN_CHOICES:
        shown = difflib.get_close_matches(value, valid, n=SHOWN_CHOICES, cutoff=0)
    more = "" if len(shown) == len(valid) else f", ... ({len(valid)} in all)"
    raise UserError(f"{key} {value!r} is not evaluated; {choices(value, shown)}{more}")
