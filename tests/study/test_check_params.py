"""Claims about bad input: one line that names the key, the value and the valid choices, before any work."""

import copy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stages.check_params import check
from stages.study.params import load_section, read_yaml
from stages.study.schema import Params
from stages.study.settings import settings_of
from weightgraft.errors import UserError

PARAMS = read_yaml(Path("params.yaml"))
DATA = Path("data")


def changed(key: str, value: object, rename: str | None = None) -> dict:
    """The params with one value changed, or one key renamed."""
    params = copy.deepcopy(PARAMS)
    *sections, last = key.split(".")
    node = params
    for section in sections:
        node = node[section]
    if rename:
        node[rename] = node.pop(last)
    else:
        node[last] = value
    return params


def test_the_committed_params_are_valid():
    check(PARAMS, DATA)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"half": {"of": "sft"}}, "made_donors.half: give either strength or like"),
        (
            {"half": {"of": "sft", "strength": 0.5, "like": "FE"}},
            "made_donors.half: give either strength or like",
        ),
        (
            {"half": {"of": "sfd", "strength": 0.5}},
            "made_donors.half.of: 'sfd' is not valid here; did you mean 'sft'",
        ),
        ({"sft": {"of": "sft", "strength": 0.5}}, "made_donors.sft: 'sft' is a model of the setup already"),
        ({"half": {"of": "sft", "like": "FE+"}}, "made_donors.half.like: scheme notation 'FE+'"),
        (
            {"half": {"of": "sft", "like": "M"}},
            "made_donors.half.like: a position set: 'M' is not valid here",
        ),
        ({"half": {"of": "sft", "strenth": 0.5}}, "did you mean 'strength'"),
    ],
)
def test_a_donor_that_cannot_be_made_is_named(made, words):
    with pytest.raises(UserError) as raised:
        check(changed("setups.knock_out.made_donors", made), DATA)
    assert words in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("key", "rename", "choice"),
    [
        ("study", "studdy", "study"),
        ("study.seeds", "seed", "seeds"),
        ("models.tiny-llama.finetune.learning_rate", "learning_rates", "learning_rate"),
        ("models.tiny-gpt2.architecture.n_layer", "n_layers", "n_layer"),
        ("recipes.fmra.halves", "halfs", "halves"),
        ("experiments.title.schemes", "scheme", "schemes"),
        ("render_figures.colours", "colors", "colours"),
    ],
)
def test_a_wrong_key_is_named_with_the_nearest_valid_one(key, rename, choice):
    with pytest.raises(UserError) as raised:
        check(changed(key, None, rename), DATA)
    message = str(raised.value)
    wrong = ".".join([*key.split(".")[:-1], rename])
    assert repr(wrong) in message and f"did you mean {choice!r}?" in message and "\n" not in message


@pytest.mark.parametrize(
    ("key", "value", "parts"),
    [
        ("study.models", ["tiny-gpt3"], ["study.models", "tiny-gpt3", "did you mean 'tiny-gpt2'", "tiny-llama"]),
        ("graft.token_budget", "atuo", ["graft.token_budget", "'atuo'", "a number of tokens, 1 to 10^9, or 'auto'"]),
        ("graft.token_budget", 0, ["graft.token_budget", "0", "a number of tokens, 1 to 10^9, or 'auto'"]),
        ("study.models", "tiny-gpt2", ["study.models", "tiny-gpt2", "list"]),
        ("study.models", [], ["study.models", "[]"]),
        ("study.seeds", [-1], ["study.seeds.0", "-1"]),
        ("study.recipes", ["fmrb"], ["study.recipes", "fmrb", "did you mean"]),
        ("models.tiny-gpt2.base_forms", "artical", ["models.tiny-gpt2.base_forms", "artical", "did you mean 'article'", "all"]),
        ("models.tiny-gpt2.pretrain.learning_rate", "fast", ["models.tiny-gpt2.pretrain.learning_rate", "fast", "number"]),
        ("models.tiny-gpt2.pretrain.learning_rate", 0, ["models.tiny-gpt2.pretrain.learning_rate", "0"]),
        ("models.tiny-gpt2.family", "gpt3", ["models.tiny-gpt2.family", "gpt3", "did you mean 'gpt2'", "gpt_neox"]),
        ("models.tiny-gpt2.architecture.n_head", 5, ["models.tiny-gpt2.architecture.n_embd", "n_head", "5"]),
        ("models.tiny-llama.architecture.num_key_value_heads", 3, ["num_attention_heads", "num_key_value_heads", "3"]),
        ("recipes.fmra.dataset", "fmrb", ["recipes.fmra.dataset", "fmrb", "did you mean 'fmra'", "rmra_shuffled"]),
        ("recipes.fmra.base_text_share", 1.0, ["recipes.fmra.base_text_share", "1.0"]),
        ("recipes.fmra.directions", ["aa"], ["recipes.fmra.directions.0", "aa", "ab"]),
        ("experiments.positions.prompts", ["headlin"], ["positions.prompts", "did you mean 'headline'", "qa"]),
        ("experiments.title.prompts", ["headline"], ["experiments.title.schemes", "'M'", "headline", "FE, LT, R"]),
        ("experiments.positions.schemes", ["PRE", "SFT", "Q"], ["experiments.positions.schemes", "'Q'", "FE, LT"]),
        ("experiments.positions.schemes", ["PRE", "SFT", "(FE"], ["experiments.positions.schemes", "(FE"]),
        ("experiments.positions.schemes", ["PRE", "FE"], ["experiments.positions.schemes", "SFT"]),
        ("experiments.positions.schemes", ["PRE", "SFT", "FE", "FE"], ["positions.schemes", "'FE'", "2 times"]),
        ("experiments.positions.schemes", ["PRE", "SFT", "task:FE"], ["positions.schemes", "'task'", "sft"]),
        ("experiments.positions.schemes", ["PRE", "SFT", "gate@FE"], ["positions.schemes", "tiny-gpt2", "gate"]),
        ("experiments.positions.schemes", ["PRE", "SFT", "O@FE[9]"], ["positions.schemes", "tiny-gpt2", "9"]),
        ("setups.fmra.leave_out", ["paraphrases"], ["figure_paraphrases", "positions", "fmra", "paraphrases"]),
        ("setups.fmra.experiments", ["position"], ["setups.fmra.experiments", "'position'", "did you mean 'positions'"]),
        ("setups.hybrid.donors", {"task": "half_a"}, ["experiments.hybrid.schemes", "unknown donor 'relation'", "recipient, task"]),
        ("setups.hybrid.donors", {"recipient": "half_b", "task": "half_a"}, ["setups.hybrid.donors", "'recipient'", "task"]),
        ("setups.fmra.donors", {}, ["setups.fmra.donors", "{}"]),
        ("setups.reversal.recipient", "b_to_b", ["setups.reversal", "b_to_b", "did you mean 'b_to_a'"]),
        ("setups.gentle.donors", {"sft": "half_c"}, ["setups.gentle", "'half_c'", "study does not finetune", "half_a"]),
        ("setups.maps.donors", {"sft": "lora"}, ["setups.maps", "'lora'", "study.new_form does not finetune", "half_a"]),
        ("setups.fmra.donors", {"sft": "fmrb"}, ["setups.fmra", "fmrb", "did you mean 'fmra'"]),
        ("setups.fmra.dataset", "fmrb", ["setups.fmra.dataset", "fmrb", "did you mean 'fmra'", "base"]),
        ("setups.hybrid.halves", ["c"], ["setups.hybrid.halves.0", "'c'"]),
        ("setups.fmfa.leave_out", ["headlin"], ["setups.fmfa.leave_out", "did you mean 'headline'"]),
        ("setups.maps.leave_out", ["headline"], ["setups.maps.leave_out", "'layer_component'", "no prompt"]),
        ("experiments.positions.exact_match", ["long", "short"], ["experiments.positions.exact_match", "'short'", "qa"]),
        ("experiments.heads.schemes", ["PRE", "SFT", {"generate": "haeds"}],
            ["experiments.heads.schemes.2.generate", "did you mean 'heads'"]),
        ("experiments.heads.schemes", ["PRE", {"generat": "heads"}], ["experiments.heads.schemes.1", "generat", "{generate: ...}"]),
        ("experiments.heads.schemes", ["PRE", "SFT", {"generate": "heads", "positions": ["LT"], "component": ["O"]}],
            ["experiments.heads.schemes.2.component", "did you mean 'components'"]),
        ("experiments.heads.schemes", ["PRE", "SFT", {"generate": "heads", "positions": ["LT"], "components": ["UP"]}],
            ["experiments.heads.schemes", "UP{0}@LT[0]", "heads can be chosen for q, k, v, o only"]),
        ("experiments.heads.schemes", ["PRE", "SFT", {"generate": "heads", "positions": ["M"], "components": ["O"]}],
            ["experiments.heads.schemes", "'M'", "headline", "FE, LT, R"]),
        ("experiments.heads.schemes", "PRE", ["experiments.heads.schemes", "'PRE'", "a list of notations"]),
        ("experiments.layer_component.schemes",
            ["PRE", "SFT", {"generate": "layer_component", "positions": ["LT"], "windows": [7]}],
            ["experiments.layer_component.schemes", "tiny-gpt2", "windows of 7", "6 layers"]),
        ("experiments.random_positions.schemes", ["PRE", "SFT", {"generate": "random_positions", "like": ["FE", "M"]}],
            ["experiments.random_positions.schemes", "'M'", "qa", "FE, LT, R"]),
        ("experiments.patching.schemes", ["PRE", "SFT", {"generate": "patches", "positions": ["FE", "M"]}],
            ["patch M[", "'M'", "headline"]),
        ("experiments.components.schemes",
            ["PRE", "SFT", {"generate": "grid", "positions": ["LT"], "components": ["O"], "layers": ["third_half"]}],
            ["experiments.components.schemes", "third_half", "second_half"]),
        ("experiments.necessity.schemes",
            ["PRE", "SFT", {"generate": "without", "positions": ["LT"], "components": ["O"], "layers": ["all"]}],
            ["experiments.necessity.schemes.2.of"]),
        ("experiments.necessity.schemes",
            ["PRE", "SFT", {"generate": "without", "of": "al", "positions": ["LT"], "components": ["O"], "layers": ["all"]}],
            ["experiments.necessity.schemes", "'al'", "headline", "FE, LT, R"]),
        ("experiments.other_facts.watched", {"dataset": "fmrb", "halves": ["a"]}, ["other_facts.watched.dataset", "fmrb"]),
        ("setups.collateral.unnamed_in", "fmfb", ["setups.collateral.unnamed_in", "fmfb", "did you mean 'fmfa'"]),
        ("study.repeats.setups", ["collaterall"], ["study.repeats.setups", "collaterall", "did you mean 'collateral'"]),
        ("study.repeats.recipes", ["fmra"], ["setups.collateral", "'fmfa'", "study.repeats does not finetune", "fmra"]),
        ("summarize.answers", ["position"], ["summarize.answers", "'position'", "did you mean 'positions'"]),
        ("experiments.hybrid.schemes", {"PRE": "PRE", "SFT": 1}, ["experiments.hybrid.schemes.SFT", "1", "notation"]),
        ("experiments.hybrid.schemes", {"PRE": "PRE", "SFT": "SFT", "x": "tasc:FE"},
            ["experiments.hybrid.schemes", "'tasc'", "relation, task"]),
        ("read_facts.folder", "examples/inventor", ["read_facts.folder", "examples/inventor", "no such folder"]),
        ("study.own", ["owm"], ["study.own", "owm", "did you mean 'own'"]),
        ("study.own", ["fmra"], ["study.own and study.recipes", "'fmra'", "2 times"]),
        ("recipes.lora.frozen", ["embed"], ["recipes.lora", "frozen", "adapter"]),
        ("recipes.frozen_tables.frozen", ["embd"], ["recipes.frozen_tables.frozen", "'embd'", "did you mean 'embed'"]),
        ("study.own", ["lora2"], ["study.own", "lora2", "did you mean 'lora'"]),
        ("study.recipes", ["fmfa", "fmra", "own"], ["recipes.own.dataset", "'own'", "list it in study.own"]),
        ("experiments.own_positions.prompts", ["lifes"], ["own_positions.prompts", "did you mean 'lives'", "question"]),
        ("experiments.own_positions.prompts", ["headline"], ["own_positions.prompts", "'headline'", "lives"]),
        ("experiments.own_positions.schemes", ["PRE", "SFT", "M"], ["own_positions.schemes", "'M'", "prompt 'lives'", "FE, LT, R"]),
        ("experiments.positions.prompts", "own", ["experiments.positions.prompts", "'lives'", "headline"]),
        ("experiments.positions.prompts", "all", ["experiments.positions.prompts is 'all'", "list"]),
        ("setups.own.experiments", ["positions"], ["experiments.positions", "'own'", "no prompts in common"]),
        ("setups.own.leave_out", ["lives", "question", "workshop", "invention"], ["setups.own.leave_out", "no prompt"]),
        ("launch.train", "srun --ntasks=1", ["launch.train", "'srun --ntasks=1'", "python, or accelerate launch", "srun"]),
        ("launch.graft", "python; true", ["launch.graft", "'python; true'", "one command: no ;"]),
        ("graft.draws", 0, ["graft.draws", "0"]),
        ("graft.directions", ["ba"], ["graft.directions", "ba", "ab"]),
        ("study.models", ["tiny-gpt2", "tiny-gpt2"], ["study.models", "tiny-gpt2", "2 times"]),
        ("models.tiny-gpt2.pretrain.learning_rate", float("inf"), ["models.tiny-gpt2.pretrain.learning_rate", "inf"]),
        ("models.tiny-gpt2.architecture.n_positions", 8, ["models.tiny-gpt2.architecture.n_positions", "8", "128"]),
        ("models.tiny-pythia.architecture.hidden_size", 100, ["tiny-pythia.architecture", "25", "even"]),
        ("generate_facts.facts", 500, ["generate_facts.facts", "500", "120"]),
        ("render_figures.colours", {"FE+TL": "#123456"}, ["render_figures.colours", "FE+TL", "'TL'", "LT"]),
        ("render_figures.counterparts", {"tiny-gpt2": "gpt2-xxl"}, ["counterparts", "gpt2-xxl", "did you mean 'gpt2-xl'"]),
        ("summarize.resamples", 2, ["summarize.resamples", "2", "100"]),
        ("render_figures.colours.FE", "orange", ["render_figures.colours.FE", "orange"]),
        ("render_figures.figures.figure2.setup", "fmrb", ["render_figures.figures.figure2.setup", "fmrb", "did you mean"]),
        ("render_figures.counterparts", {"tiny-gpt3": "gpt2-xl"}, ["render_figures.counterparts", "tiny-gpt3", "tiny-gpt2"]),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_its_key_and_the_choices(key, value, parts):
    with pytest.raises(UserError) as raised:
        check(changed(key, value), DATA)
    message = str(raised.value)
    assert all(part in message for part in parts) and "\n" not in message, message


@pytest.mark.parametrize(
    "start", ["nice -n 19 python", "srun --gres=gpu:2 accelerate launch --num_processes 2"]
)
def test_what_starts_a_stage_may_have_a_prefix(start):
    check(changed("launch.train", start), DATA)


def test_own_recipes_are_on_own_facts_in_a_direction_that_these_are_told_in(tmp_path):
    params = changed("study.own", ["own"])
    assert check(params, DATA).experiments["own_positions"].prompts[:2] == ["lives", "question"]
    params["recipes"]["own"]["dataset"] = "fmra"
    with pytest.raises(
        UserError, match=r"recipes.own.dataset is 'fmra': study.own is for dataset 'own' alone"
    ):
        check(params, DATA)
    params["recipes"]["own"] |= {"dataset": "own", "directions": ["ba"]}
    folder = shutil.copytree("examples/inventors", tmp_path / "mine")
    (tmp_path / "mine/training.yaml").write_text('- "{inventor} [lives in the town of] {town}."')
    params["read_facts"]["folder"] = str(folder)
    with pytest.raises(
        UserError, match=r"recipes.own.directions is \['ba'\]: .*mine/training.yaml are of ab"
    ):
        check(params, DATA)


def test_a_study_of_own_facts_alone_is_valid():
    params = changed("study.own", ["own"])
    params["study"] |= {"recipes": [], "parts": [], "setups": []}
    params["study"]["repeats"]["models"] = params["study"]["new_form"]["models"] = []
    check(params, DATA)
    params["study"]["own"] = []
    with pytest.raises(UserError, match=r"study.recipes and study.own are both empty"):
        check(params, DATA)


def test_a_template_that_gives_the_answer_away_is_refused(tmp_path):
    for name in ("templates", "published"):
        shutil.copytree(DATA / name, tmp_path / name)
    prompts = tmp_path / "templates/prompts.yaml"
    prompts.write_text(prompts.read_text().replace("movie] alongside", "movie] alongside {second_actor} and"))
    with pytest.raises(UserError, match=r"headline.*second_actor"):
        check(PARAMS, tmp_path)


@pytest.mark.parametrize(
    ("text", "part"), [("study: [", "not YAML"), ("", "params"), ("study: {models: [x]}", "missing key")]
)
def test_a_broken_file_ends_in_one_line_without_a_traceback(tmp_path, text, part):
    broken = tmp_path / "params.yaml"
    broken.write_text(text)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "stages.check_params",
            "--params",
            broken,
            "--data",
            "data",
            "--out",
            tmp_path / "ok",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and part in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "ok").exists()


def test_a_missing_section_is_named():
    with pytest.raises(UserError, match="tiny-gpt3"):
        load_section("models.tiny-gpt3.finetune")


def test_a_recipe_that_freezes_nothing_has_the_settings_that_it_had_before_there_was_such_a_key():
    params = Params.model_validate(PARAMS)
    files = settings_of(params, [], [])
    assert not any("frozen" in files[name]["recipe"] for name in files if name.startswith("finetune/"))
    study = copy.deepcopy(PARAMS)
    study["study"]["recipes"].append("frozen_tables")
    recipe = settings_of(Params.model_validate(study), [], [])["finetune/tiny-gpt2-frozen_tables.json"][
        "recipe"
    ]
    assert recipe["frozen"] == ["embed", "unembed"]
