"""Distillation of made-up teachers: where the student starts and which teacher it learns from."""

import pytest
import torch
from made_cards import card_of, data_of, records_of

from clinprompt.jobs.distill import distill
from clinprompt.prompts.artifact import make_artifact
from clinprompt.runs.manifest import manifest_of
from clinprompt.runs.task_rows import task_rows_of
from clinprompt.runs.workspace import Workspace
from clinprompt.settings.run import check_config
from clinprompt.tasks.records import LabelAnswer

LENGTH, HIDDEN, RANK = 4, 32, 2
LABELS = {"entailment": "yes", "contradiction": "no"}
SOURCES = tuple(
    data_of(
        card_of("nli", "label", name=name, labels=LABELS),
        train=records_of(map(LabelAnswer, (*LABELS, *LABELS)), text=text),
        validation=records_of(map(LabelAnswer, LABELS), text=text),
    )
    for name, text in (("one", "Had gout, is well"), ("other", "No drugs, is ill"))
)
OTHER_TYPE = data_of(
    card_of("qa", "label", name="third", labels=LABELS),
    train=records_of(map(LabelAnswer, (*LABELS, *LABELS)), text="Is it gout"),
    validation=records_of(map(LabelAnswer, LABELS), text="Is it gout"),
)
DISTILL = {"steps": 2, "rows": 2, "warmup_steps": 0, "checkpoint_every": 1}
ALONE = {"logits_weight": 0.0, "hidden_weight": 0.0, "start": "vocabulary"}


@pytest.fixture
def distilled(tiny_llama, tiny_llama_folder, tmp_path):
    """Return a function that distills teachers whose vectors are drawn by these seeds."""

    def distilled(seeds=(0, 1), *, folder="run", sources=SOURCES, **settings):
        values = {"name": "x", "backbone": str(tiny_llama_folder), "device": "cpu"}
        values |= {"prompt": {"length": LENGTH, "rank": RANK}, "distill": DISTILL | settings}
        values |= {"data": {"max_input_tokens": 60, "max_target_tokens": 20}}
        config = check_config(values, source="test")
        teachers = [
            teacher_of(config, tiny_llama, data.card, seed)
            for data, seed in zip(sources, seeds, strict=True)
        ]
        workspace = Workspace(tmp_path / folder)
        workspace.refresh()
        metaprompt = distill(
            config,
            tiny_llama,
            sources,
            teachers=teachers,
            workspace=workspace,
            task_rows=task_rows_of(config, tiny_llama),
        )
        return metaprompt.tensors, teachers, workspace

    return distilled


def teacher_of(config, backbone, card, seed):
    manifest = manifest_of(
        config, backbone, kind="prompt", name=card.name, method="teacher", cards=[card]
    )
    vectors = torch.randn(LENGTH, HIDDEN, generator=torch.Generator().manual_seed(seed))
    return make_artifact(manifest, {"vectors": vectors})


def assert_equal(one, other):
    assert all(torch.equal(one[name], other[name]) for name in ("shared", "u", "v"))


def test_a_metaprompt_starts_as_the_mean_of_its_teachers_for_every_task(distilled):
    tensors, teachers, _ = distilled(steps=0)
    mean = torch.stack([teacher.tensors["vectors"] for teacher in teachers]).mean(dim=0)
    torch.testing.assert_close(tensors["shared"], mean)
    # The factors of each task multiply it by one.
    product = tensors["u"] @ tensors["v"]
    assert torch.equal(product, torch.ones(len(SOURCES), LENGTH, HIDDEN))


def test_distillation_trains_the_shared_prompt_and_the_factors_of_every_task(distilled):
    start, _, _ = distilled(steps=0, folder="start")
    tensors, _, _ = distilled()
    assert not torch.equal(tensors["shared"], start["shared"])
    for task in range(len(SOURCES)):
        assert not torch.equal(tensors["u"][task], start["u"][task])
        assert not torch.equal(tensors["v"][task], start["v"][task])


def test_without_its_weights_the_loss_does_not_depend_on_the_teachers(distilled):
    one, _, _ = distilled((0, 1), folder="one", **ALONE)
    other, _, _ = distilled((2, 3), folder="other", **ALONE)
    assert_equal(one, other)


@pytest.mark.parametrize("weight", ["logits_weight", "hidden_weight"])
def test_with_either_weight_a_task_learns_from_its_own_teacher(distilled, weight):
    """Swapped teachers have the same mean, so only which task each one teaches can differ."""
    settings = ALONE | {weight: 0.9}
    one, _, _ = distilled((0, 1), folder="one", **settings)
    swapped, _, _ = distilled((1, 0), folder="swapped", **settings)
    assert not torch.equal(one["shared"], swapped["shared"])


def test_tasks_are_balanced_by_type_unless_the_settings_say_otherwise(distilled):
    """Two tasks of one type and one of another: 1/4, 1/4, 1/2 of the rows, or 1/3 each."""
    sources, more = (*SOURCES, OTHER_TYPE), {"rows": 16}
    found = {
        name: distilled((0, 1, 2), folder=name, sources=sources, **more, **balance)[0]
        for name, balance in {
            "default": {},
            "types": {"balance": "types"},
            "tasks": {"balance": "tasks"},
        }.items()
    }
    assert_equal(found["default"], found["types"])
    assert not torch.equal(found["tasks"]["shared"], found["types"]["shared"])


def test_tasks_of_one_type_are_balanced_alike_by_type_and_by_task(distilled):
    one, _, _ = distilled(folder="types", balance="types")
    other, _, _ = distilled(folder="tasks", balance="tasks")
    assert_equal(one, other)


def test_a_finished_metaprompt_is_loaded_and_not_trained_again(distilled):
    first, _, workspace = distilled()
    num_logged = len(list(workspace.log.rows()))
    again, _, workspace = distilled(steps=5)
    assert_equal(again, first)
    assert len(list(workspace.log.rows())) == num_logged


def test_cached_teachers_give_the_same_metaprompt_and_leave_no_file(distilled):
    """All likeliest tokens are kept, so the cache rounds nothing but number formats."""
    plain, _, _ = distilled(cache_teachers=False, folder="plain")
    cached, _, workspace = distilled(cache_teachers=True, folder="cached")
    for name in plain:
        torch.testing.assert_close(cached[name], plain[name], rtol=1e-2, atol=1e-2)
    assert list((workspace.folder / "checkpoints").iterdir()) == []
