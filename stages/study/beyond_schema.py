"""What params.yaml's `beyond` may say."""

from typing import Annotated

from pydantic import Field

from stages.study.faults import Section
from stages.study.fields import Count, Name, Names, Seed


class FrozenTables(Section):
    models: Names
    seed: Seed
    recipe: Name
    beside: Name  # the recipe that trains the tables too


class Trajectory(Section):
    models: Names
    seeds: Annotated[list[Seed], Field(min_length=1)]
    recipe: Name
    points: Annotated[int, Field(ge=2, le=100)]


class TextsAFact(Section):
    models: Names
    seeds: Annotated[list[Seed], Field(min_length=1)]
    recipe: Name
    forms: Annotated[list[Count], Field(min_length=3)]
    updates: Count


class Articles(Section):
    """Articles without a template, beside short texts of as many tokens and updates; a base of its own for each run."""

    models: Names
    seeds: Annotated[list[Seed], Field(min_length=1)]
    recipe: Name
    articles: Annotated[int, Field(ge=1, le=100)]  # a fact and direction
    batch_size: Count  # of articles
    epochs: Annotated[int, Field(ge=1, le=1000)]  # of the articles
    positions: Annotated[int, Field(ge=64, le=4096)]
    base_articles: Annotated[int, Field(ge=1, le=100)]  # a cast and direction
    base_epochs: Annotated[int, Field(ge=1, le=1000)]


class Beyond(Section):
    """make beyond: what trains more models than the study does."""

    frozen_tables: FrozenTables
    trajectory: Trajectory
    texts: TextsAFact
    articles: Articles
    runs: Annotated[
        dict[Name, Annotated[int, Field(ge=2, le=1000)]], Field(min_length=1)
    ]  # make runs: how many of each model
