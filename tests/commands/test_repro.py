"""make repro: what may run side by side, in which order, and where the seconds went."""

import random

import pytest

from stages.commands.repro import MOST, Queue, run_time, stage_of

PIPELINE = {
    "pretrain@a": set(),
    "pretrain@b": set(),
    **{f"finetune@a-{i}": {"pretrain@a"} for i in range(9)},
    **{f"finetune_parts@b-{i}": {"pretrain@b"} for i in range(3)},
    "graft@a": {"pretrain@a", *(f"finetune@a-{i}" for i in range(9))},
    "judge_claims": {"graft@a"},
}


def test_an_item_starts_when_all_that_it_waits_for_is_done_and_runs_once():
    draw = random.Random(0)
    for _ in range(50):
        queue, running, started = Queue(dict(PIPELINE)), [], []
        while queue.waits or running:
            some = queue.take(jobs=2)
            if some:
                assert len(some) <= MOST and len({stage_of(item) for item in some}) == 1
                assert all(PIPELINE[item] <= queue.done for item in some)
                started += some
                running.append(some)
            if running and (not some or draw.random() < 0.5):
                queue.done.update(running.pop(draw.randrange(len(running))))
        assert sorted(started) == sorted(PIPELINE)


def test_no_job_takes_what_another_could_run():
    queue = Queue(dict(PIPELINE))
    assert queue.take(jobs=2) == ["pretrain@a"] and queue.take(jobs=2) == ["pretrain@b"]
    assert queue.take(jobs=2) == []  # all else waits
    queue.done.add("pretrain@a")
    assert [len(queue.take(jobs=2)) for _ in range(6)] == [3, 2, 1, 1, 1, 1]  # of nine: the last ones alone
    assert queue.take(jobs=2) == []


def test_what_most_others_wait_for_comes_first():
    waits: dict[str, set[str]] = {}
    for base in "abc":
        waits |= {f"pretrain@{base}": set(), f"finetune@{base}": {f"pretrain@{base}"}}
        waits[f"graft@{base}"] = {f"pretrain@{base}", f"finetune@{base}"}
    queue, order = Queue({**waits, "judge_claims": {*waits}}), []
    while some := queue.take(jobs=1):
        order += [stage_of(item) for item in some]
        queue.done.update(some)
    assert order == ["pretrain"] * 3 + ["finetune"] * 3 + ["graft"] * 3 + ["judge_claims"]


@pytest.mark.parametrize(
    ("item", "stage"),
    [
        ("finetune_new_form_parts@tiny-gpt2-new-0-half_a", "finetune"),
        ("graft_repeats@tiny-gpt2-1", "graft"),
        ("generate_facts", "generate_facts"),
        ("judge_claims", "judge_claims"),
    ],
)
def test_the_stage_of_an_item(item, stage):
    assert stage_of(item) == stage


def test_the_table_of_run_time_adds_up_to_the_cores():
    times = [
        {"stage": "pretrain", "imports": 4.0, "work": 100.0},
        {"stage": "finetune", "imports": 4.0, "work": 50.0},
        {"stage": "graft", "imports": 5.0, "work": 20.0},
        {"stage": "generate_facts", "imports": 0.5, "work": 0.5},
    ]
    table = run_time(times, wall=120.0, cpu=200.0, cores=2).set_index("kind")
    assert table["cpu_seconds"].sum() == 240 and table["share"].sum() == pytest.approx(1, abs=0.01)
    assert table.loc["training", "cpu_seconds"] == 150 and table.loc["training", "starts"] == 2
    assert table.loc["importing libraries", "starts"] == 4
    assert table.loc["DVC itself", "cpu_seconds"] == 16 and table.loc["idle cores", "cpu_seconds"] == 40
