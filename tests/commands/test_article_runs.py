"""Claims about the trainings of articles: the twin reads as many tokens in as many updates, the base none of the new facts."""

import math
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from closure import ROOT

from stages.commands import article_runs
from stages.commands.article_runs import (
    ARTICLES,
    CLOSE,
    SHORT,
    article_trainings,
    base_of,
    begun,
    described,
    lengths_of,
    pretrained,
    tokens_read,
    twin_of,
)
from stages.commands.kept_points import train_keeping
from stages.facts.templates import read_prompt_templates, read_training_forms
from stages.facts.world import build_world
from stages.frame.rows import read_jsonl, write_jsonl
from stages.generate_facts import base_texts, prompt_rows, recall_templates
from stages.modeling.models import build_model, load_model, save_model, set_up
from stages.modeling.tokens import train_tokenizer
from stages.modeling.training import TextTrainer
from stages.study.params import read_yaml
from weightgraft.errors import UserError

VALUES = read_yaml(ROOT / "params.yaml")
WANTED = VALUES["beyond"]["articles"]
SMALL = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}


def item_of(model: str) -> dict:
    recipe = VALUES["recipes"][WANTED["recipe"]]
    return {"model": {"finetune": VALUES["models"][model]["finetune"]}, "recipe": recipe}


def world_in(folder: Path, base_facts: int, facts: int) -> Path:
    """What generate_facts writes of a world, as far as these trainings read it."""
    section, forms = VALUES["generate_facts"], read_training_forms(ROOT / "data/templates")
    sizes = (base_facts, facts, section["first_names"], section["last_names"], section["seed"])
    world = build_world(*sizes, read_yaml(ROOT / "data/words.yaml"))
    write_jsonl(folder / "texts/base_all.jsonl", base_texts(world.base, forms, "all"))
    write_jsonl(folder / "recall/all.jsonl", prompt_rows(world.base, recall_templates(forms, "all")))
    for name, told in {"base": world.base, **world.datasets}.items():
        write_jsonl(folder / f"facts/{name}.jsonl", [asdict(fact) for fact in told])
    prompts = prompt_rows(world.datasets["fmra"], read_prompt_templates(ROOT / "data/templates"))
    write_jsonl(folder / "prompts/fmra.jsonl", prompts)
    return folder


@pytest.fixture(scope="module", autouse=True)
def here():
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(ROOT)
        yield


@pytest.fixture(scope="module")
def facts(tmp_path_factory) -> Path:
    """The study's own world."""
    section = VALUES["generate_facts"]
    return world_in(tmp_path_factory.mktemp("facts"), section["base_facts"], section["facts"])


def origin_in(folder: Path, model: str, facts: Path) -> Path:
    """A folder as of the model's base: its tokenizer, and weights that nothing has trained."""
    texts = [row["text"] for row in read_jsonl(facts / "texts/base_all.jsonl")]
    own = VALUES["models"][model]
    tokenizer = train_tokenizer(texts, **own["tokenizer"])
    set_up(0, threads=1)
    save_model(build_model(own["family"], own["architecture"], tokenizer), tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def origins(tmp_path_factory, facts) -> dict[str, Path]:
    return {model: origin_in(tmp_path_factory.mktemp(model), model, facts) for model in WANTED["models"]}


@pytest.fixture(scope="module", params=WANTED["models"])
def made(request, facts, origins):
    """The first run of each model."""
    model = request.param
    base = base_of(WANTED, VALUES["models"][model], origins[model], facts, WANTED["seeds"][0])
    return base, article_trainings(WANTED, item_of(model), base, facts)


def test_the_twin_has_as_many_tokens_and_updates_within_a_hundredth(made):
    base, (articles, short) = made
    assert (articles.name, short.name) == (ARTICLES, SHORT)
    assert (
        [*articles.points]
        == [*short.points]
        == [articles.settings["max_steps"]]
        == [short.settings["max_steps"]]
    )
    (updates,) = articles.points
    assert updates == math.ceil(len(articles.texts) / WANTED["batch_size"]) * WANTED["epochs"]
    long, few = (
        tokens_read(
            lengths_of(training.texts, base.tokenizer, 256),
            training.settings["batch_size"],
            updates,
            base.seed,
        )
        for training in (articles, short)
    )
    assert long > 300 * updates and abs(few / long - 1) <= CLOSE == 0.01
    same = {key: value for key, value in articles.settings.items() if key != "batch_size"}
    assert same == {key: value for key, value in short.settings.items() if key != "batch_size"}


def test_both_tell_all_new_facts_by_26_texts_and_neither_asks_headline_or_qa(made, facts):
    prompts = {
        row["text"] for row in read_jsonl(facts / "prompts/fmra.jsonl") if row["prompt"] in ("headline", "qa")
    }
    new = read_jsonl(facts / "facts/fmra.jsonl")
    for training in made[1]:
        again = len(training.texts) - 26 * len(new)
        assert len({*training.texts}) == 26 * len(new) and 0 <= again < 0.1 * len(training.texts)
        assert again == 0 or training.name == SHORT
        assert not any(prompt in text for text in training.texts[:260] for prompt in prompts)
        assert all(
            fact["first_actor"] in text
            for fact, text in zip(new, training.texts[: 26 * len(new) : 26], strict=True)
        )


def test_the_base_reads_its_own_casts_and_none_of_the_new_facts(made, facts):
    base, (articles, _) = made
    own, new = (read_jsonl(facts / f"facts/{name}.jsonl") for name in ("base", "fmra"))
    read = "\n".join(base.texts)
    assert all(read.count(fact["movie_title"]) >= 17 + 2 * WANTED["base_articles"] for fact in own)
    assert not any(fact["movie_title"] in read for fact in new)
    together = [{fact["first_actor"], fact["second_actor"]} for fact in new]
    assert not any(all(name in text for name in pair) for text in base.texts for pair in together)
    assert {*base.texts}.isdisjoint(articles.texts)
    more = len(base.texts) - len(read_jsonl(facts / "texts/base_all.jsonl"))
    assert more == 2 * WANTED["base_articles"] * len(own)


def test_a_base_begins_as_the_models_own_with_256_places_and_computes_the_same(made):
    base, _ = made
    (own, old), more = load_model(base.origin), begun(base)
    assert (own.config.max_position_embeddings, more.config.max_position_embeddings) == (128, 256)
    tokens = torch.tensor([[*range(3, 103)]])
    with torch.no_grad():
        here, there = (model(input_ids=tokens).logits[..., : len(old)] for model in (own, more.eval()))
        fresh = build_model(base.own["family"], base.own["architecture"], base.tokenizer)(
            input_ids=tokens
        ).logits
    # A wider table is multiplied in other blocks: the last digits may differ.
    assert torch.allclose(here, there, atol=1e-5) and not torch.allclose(
        here, fresh[..., : len(old)], atol=0.01
    )
    assert more(input_ids=torch.zeros((1, 256), dtype=torch.long)).logits.isfinite().all()


def test_words_become_tokens_names_keep_theirs_and_every_text_can_be_read_again(made, facts):
    base, (articles, _) = made
    old, new = load_model(base.origin)[1], base.tokenizer
    assert len(old) == 1024 < len(new) < 2048
    people = {
        fact[role]
        for name in ("base", "fmra")
        for fact in read_jsonl(facts / f"facts/{name}.jsonl")
        for role in ("first_actor", "second_actor")
    }
    told = [f" {name}" for name in people]
    assert [old.tokenize(name) for name in told] == [new.tokenize(name) for name in told]
    kept = base.texts[-50:] + articles.texts[:50]
    assert [new.decode(ids, skip_special_tokens=True) for ids in new(kept)["input_ids"]] == kept
    fewer = [
        sum(len(ids) for ids in tokenizer(articles.texts[:200])["input_ids"]) for tokenizer in (old, new)
    ]
    assert fewer[1] < 0.7 * fewer[0]
    assert new.tokenize(" garden") == ["Ġgarden"] != old.tokenize(" garden")
    assert (new.bos_token_id, new.eos_token_id, new.pad_token_id) == (
        old.bos_token_id,
        old.eos_token_id,
        old.pad_token_id,
    )


def test_a_run_has_a_base_of_its_own_seed_and_the_same_run_the_same(facts, origins):
    own, origin = VALUES["models"]["tiny-gpt2"], origins["tiny-gpt2"]
    one, again, other = (base_of(WANTED, own, origin, facts, seed).run for seed in (1, 1, 2))
    assert one == again != other


def test_tokens_are_counted_as_the_trainer_feeds_them(tmp_path, monkeypatch):
    """Two epochs and a part of the third, of texts of many lengths, whose last batch is short."""
    texts = [" ".join(["Ann met Bob."] * (1 + place % 7)) for place in range(23)]
    tokenizer, fed = train_tokenizer(texts, 300, bos=False), []

    class Counting(TextTrainer):
        def compute_loss(self, model, inputs, *args, **kwargs):
            fed.append(int((inputs["labels"] != -100).sum()))
            return super().compute_loss(model, inputs, *args, **kwargs)

    monkeypatch.setattr("stages.commands.kept_points.TextTrainer", Counting)
    settings = {"num_train_epochs": 3, "max_steps": 14, "batch_size": 4, "learning_rate": 0.01}
    model = build_model("gpt2", SMALL, tokenizer)
    train_keeping(model, tokenizer, texts, settings, "cpu", 5, tmp_path, "x", {14: tmp_path / "points/14"})
    lengths = lengths_of(texts, tokenizer, 64)
    assert len(fed) == 14 and sum(fed) == tokens_read(lengths, 4, 14, seed=5)
    assert sum(fed) not in (tokens_read(lengths, 4, 13, seed=5), 14 * 4 * sum(lengths) / len(lengths))
    assert load_model(tmp_path / "points/14")[0].config.n_positions == 64


def test_texts_that_do_not_fit_and_batches_that_cannot_be_made_alike_are_refused(facts, origins):
    base = base_of(WANTED, VALUES["models"]["tiny-gpt2"], origins["tiny-gpt2"], facts, seed=1)
    item = item_of("tiny-gpt2")
    with pytest.raises(UserError, match=r"beyond\.articles\.positions is 64; a text has 1\d\d tokens"):
        article_trainings(WANTED, item, base._replace(positions=64), facts)
    with pytest.raises(UserError, match=r"beyond\.articles\.batch_size is 1: no number of short texts"):
        article_trainings(WANTED | {"batch_size": 1, "epochs": 1}, item, base, facts)


def test_some_texts_come_twice_where_whole_batches_alone_would_not_make_as_many_tokens():
    lengths = [10] * 100
    size, again, excess = twin_of(lengths, tokens=10 * 105, updates=10, seed=0)
    assert (size, len(again), excess) == (11, 5, 0) and len({*again}) == 5
    assert twin_of(lengths, tokens=10 * 100, updates=10, seed=0) == (10, [], 0)


def test_a_base_is_trained_once_told_of_and_trained_anew_for_another_run(tmp_path, monkeypatch):
    folder = world_in(tmp_path / "facts", 6, 4)
    texts = [row["text"] for row in read_jsonl(folder / "texts/base_all.jsonl")]
    tokenizer = train_tokenizer(texts, 500, bos=False)
    save_model(build_model("gpt2", SMALL, tokenizer), tokenizer, tmp_path / "origin")
    own = {"family": "gpt2", "threads": 1, "device": "cpu", "base_forms": "all", "architecture": SMALL}
    own |= {"pretrain": {"learning_rate": 0.001, "warmup_steps": 1, "batch_size": 64}}
    base = base_of(WANTED | {"base_epochs": 1, "positions": 512}, own, tmp_path / "origin", folder, seed=1)
    trained = pretrained(base, tmp_path / "kept")
    assert load_model(trained)[0].config.n_positions == 512
    monkeypatch.setattr(article_runs, "CLOSE", 1)  # of so few texts
    wanted = WANTED | {"batch_size": 40, "epochs": 3}
    (training, _) = article_trainings(wanted, item_of("tiny-gpt2"), base, folder)
    found = described(base, trained, training, folder)
    assert found["texts"] == 104 and found["updates"] == 9 and 0 <= found["base_recall"] < 1
    assert found["tokens"] == 3 * sum(lengths_of(training.texts, base.tokenizer, 512))

    again = []
    monkeypatch.setattr(article_runs, "train_keeping", lambda *args, **kwargs: again.append(args[-2]))
    assert pretrained(base, tmp_path / "kept") == trained and again == []
    pretrained(base._replace(seed=2), tmp_path / "kept")
    assert again == [2]
