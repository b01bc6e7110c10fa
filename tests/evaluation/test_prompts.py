"""Claims about prompts: which foil, which random positions."""

import pytest

from stages.evaluation.prompts import asked, encode_rows, with_random_positions
from weightgraft import Prompt
from weightgraft.errors import UserError

LIKE = ["FE", "LT"]


def drawn(prompt: Prompt, row: dict, draws: int = 5, seed: int = 0) -> dict[str, tuple[int, ...]]:
    positions = with_random_positions(prompt, row, LIKE, draws, seed).positions
    assert {name: positions[name] for name in prompt.positions} == dict(prompt.positions)
    return {name: tuple(members) for name, members in positions.items() if name not in prompt.positions}


def test_another_facts_name_has_the_titles_co_star_as_its_foil(tokenizer, rows):
    named = [row for row in rows if row["prompt"] == "movie_title_other_name"]
    plain = {(row["fact_id"], row["direction"]): row for row in rows if row["prompt"] == "movie_title"}
    assert named
    for row, prompt in zip(named, encode_rows(tokenizer, named), strict=True):
        own = plain[row["fact_id"], row["direction"]]
        assert row["foil"] == own["target"] != row["target"]
        (same_form,) = encode_rows(tokenizer, [row | {"target": own["target"]}])
        assert prompt.foil == same_form.target[0]
        assert tokenizer.decode([prompt.foil]) and row["foil"].startswith(tokenizer.decode([prompt.foil]))


def test_a_foil_that_begins_like_the_target_is_kept(tokenizer, rows):
    row = next(row for row in rows if "foil" in row)
    (prompt,) = encode_rows(tokenizer, [row | {"foil": row["target"]}])
    assert prompt.foil == prompt.target[0]


def test_random_positions_are_as_many_and_lie_outside(tokenizer, rows):
    chosen = asked(rows, ["headline", "qa"], ["ab"], ["a", "b"])
    for row, prompt in zip(chosen, encode_rows(tokenizer, chosen), strict=True):
        taken = {*prompt.positions["FE"], *prompt.positions["LT"]}
        outside = len(prompt.tokens) - len(taken)
        found = drawn(prompt, row)
        assert set(found) == {f"{name}_random_{draw}" for name in LIKE for draw in range(1, 6)}
        for name, members in found.items():
            wanted = len(prompt.positions[name.split("_")[0]])
            assert len(members) == min(wanted, outside) and not taken & set(members)
        assert len({found[f"LT_random_{draw}"] for draw in range(1, 6)}) > 1


def test_random_positions_do_not_depend_on_the_batch_nor_on_its_order(tokenizer, rows):
    chosen = asked(rows, ["headline", "qa"], ["ab"], ["a", "b"])
    prompts = encode_rows(tokenizer, chosen)
    together = [drawn(prompt, row) for row, prompt in zip(chosen, prompts, strict=True)]
    backwards = [drawn(prompt, row) for row, prompt in reversed([*zip(chosen, prompts, strict=True)])]
    assert together == backwards[::-1]
    assert drawn(prompts[3], chosen[3]) == together[3]
    fewer = drawn(prompts[3], chosen[3], draws=2)
    assert fewer == {name: members for name, members in together[3].items() if name in fewer}
    assert drawn(prompts[3], chosen[3], seed=1) != together[3]


def test_a_prompt_with_too_few_tokens_outside_is_an_error_that_names_the_fact():
    row = {"fact_id": 7, "template": "headline", "direction": "ab"}
    prompt = Prompt(tokens=(1, 2, 3, 4, 5), positions={"FE": (0, 1, 2)})
    with pytest.raises(UserError, match="fact 7, prompt 'headline': 1 tokens lie outside FE\\+LT, FE has 3"):
        drawn(prompt, row, draws=1)


def test_a_prompt_that_no_fact_has_is_named(rows):
    with pytest.raises(UserError, match="prompt 'haedline'"):
        asked(rows, ["headline", "haedline"], ["ab"], ["a"])
