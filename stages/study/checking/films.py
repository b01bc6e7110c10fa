"""Whether there are as many films as the facts need, asked before any is fetched."""

from pathlib import Path

from stages.facts.films import read_films
from stages.study.schema import FetchFilms, GenerateFacts
from weightgraft.errors import UserError


def check_films(facts: GenerateFacts, fetch: FetchFilms, table: Path) -> None:
    """A dataset has no more facts than its base has films, and the world `real` no more of these than there are.

    Args:
        facts: what is asked of a world.
        fetch: where real films come from.
        table: the committed ones.

    Raises:
        UserError: it has; or the committed films are wanted and their table is no such table.
    """
    if facts.facts > facts.base_facts:
        raise UserError(
            f"generate_facts.facts is {facts.facts}; at most generate_facts.base_facts, {facts.base_facts}"
        )
    if facts.world != "real":
        return
    if fetch.source == "imdb":
        most, cure = fetch.films, "that is fetch_films.films"
    else:
        most = len(read_films(table))
        cure = f"that many films are in {table}; fetch_films.source: imdb brings more"
    if facts.base_facts > most:
        raise UserError(f"generate_facts.base_facts is {facts.base_facts}; at most {most}: {cure}")
