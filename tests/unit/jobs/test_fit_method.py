"""Fitting a method to a task: what changes, what stays as it was, and what is saved."""

from dataclasses import replace

import pytest
import torch
from tiny import random_rows

from clinprompt.batches.mixture import hold_out
from clinprompt.jobs.fit_method import MethodFit, fit_method, fit_methods, split_rows, steps_of
from clinprompt.methods.method import Start
from clinprompt.methods.table import METHODS
from clinprompt.prompts.artifact import make_artifact
from clinprompt.prompts.decomposed import compose
from clinprompt.runs.manifest import manifest_of
from clinprompt.runs.workspace import Workspace
from clinprompt.settings.groups import AdaptSettings
from clinprompt.settings.run import check_config
from clinprompt.tasks.card import find_card
from clinprompt.training.fit import mean_loss
from clinprompt.training.member import row_weights_of

LENGTH, HIDDEN, RANK = 4, 32, 2
SOURCES = ("practice-ner-labs", "practice-nli-history")
ADAPT = {"steps": 3, "rows": 2, "warmup_steps": 0, "routing": "all"}
SLOW = 1e-30  # a rate so small that no float32 near 1 changes


@pytest.fixture
def fit_of(tiny_llama, tiny_llama_folder):
    """Return a function that says what to fit: a method from a made-up metaprompt."""

    def fit_of(method, *, rows=((9, 2), (12, 3), (7, 1)), name="task/fit", seed=0, **adapt):
        values = {"name": "x", "backbone": str(tiny_llama_folder), "device": "cpu"}
        prompt = {"length": LENGTH, "rank": RANK}
        values |= {"prompt": prompt, "adapt": ADAPT | adapt}
        config = check_config(values, source="test")
        cards = [find_card(source) for source in SOURCES]
        manifest = manifest_of(
            config, tiny_llama, kind="metaprompt", name="m", method="distilled", cards=cards
        )
        generator = torch.Generator().manual_seed(5)
        tensors = {
            "shared": 1 + torch.rand(LENGTH, HIDDEN, generator=generator),
            "u": 1 + torch.rand(2, LENGTH, RANK, generator=generator),
            "v": 1 + torch.rand(2, RANK, HIDDEN, generator=generator),
        }
        start = Start(
            config,
            tiny_llama,
            find_card("practice-nli-social"),
            random_rows(rows),
            seed,
            make_artifact(manifest, tensors),
        )
        return MethodFit(METHODS[method], start, name)

    return fit_of


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path)


def loss_of(fit, tuner, rows):
    """Return the loss that validation uses, in which rows weigh as in training."""
    weights = row_weights_of(fit.start.config.adapt)
    return mean_loss(fit.start.backbone, tuner, rows, row_weights=weights)


def mean_factors(fit):
    tensors = fit.start.metaprompt.tensors
    return tensors["u"].mean(dim=0), tensors["v"].mean(dim=0)


def is_changed(module, fit):
    """Return whether fitting changed the shared prompt, u and v."""
    u, v = mean_factors(fit)
    pairs = ((module.shared, fit.start.metaprompt.tensors["shared"]), (module.u[0], u))
    return tuple(not torch.equal(now, start) for now, start in (*pairs, (module.v[0], v)))


def test_adapting_the_factors_leaves_the_shared_prompt_bitwise_unchanged(fit_of, workspace):
    fit = fit_of("adapted-factors")
    with fit_method(fit, workspace) as fitted:
        assert is_changed(fitted.tuner.module, fit) == (False, True, True)


def test_adapting_the_metaprompt_changes_the_shared_prompt_and_the_factors(fit_of, workspace):
    fit = fit_of("adapted-metaprompt")
    with fit_method(fit, workspace) as fitted:
        assert is_changed(fitted.tuner.module, fit) == (True, True, True)


@pytest.mark.parametrize("method", ["adapted-factors", "adapted-metaprompt"])
def test_adapting_does_not_change_the_metaprompt_itself(fit_of, workspace, method):
    fit = fit_of(method)
    before = {name: one.clone() for name, one in fit.start.metaprompt.tensors.items()}
    with fit_method(fit, workspace):
        pass
    after = fit.start.metaprompt.tensors
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize(
    ("rates", "changed"),
    [
        ({"shared_rate": SLOW}, (False, True, True)),
        ({"factor_rate": SLOW}, (True, False, False)),
    ],
)
def test_the_shared_prompt_and_the_factors_learn_at_their_own_rates(
    fit_of, workspace, rates, changed
):
    fit = fit_of("adapted-metaprompt", **rates)
    with fit_method(fit, workspace) as fitted:
        assert is_changed(fitted.tuner.module, fit) == changed


def test_adapted_factors_are_saved_alone_with_the_hash_of_their_metaprompt(fit_of, workspace):
    fit = fit_of("adapted-factors")
    with fit_method(fit, workspace) as fitted:
        saved, module = fitted.artifact, fitted.tuner.module
    metaprompt = fit.start.metaprompt.manifest
    assert (saved.manifest.kind, saved.manifest.metaprompt) == ("factors", metaprompt.content_hash)
    assert saved.tensors.keys() == {"u", "v"}
    assert torch.equal(saved.tensors["u"], module.u[0])
    assert torch.equal(saved.tensors["v"], module.v[0])


def test_an_adapted_metaprompt_is_saved_as_the_prompt_that_was_trained(fit_of, workspace):
    fit = fit_of("adapted-metaprompt")
    with fit_method(fit, workspace) as fitted:
        saved, module = fitted.artifact, fitted.tuner.module
    assert (saved.manifest.kind, saved.manifest.shots) == ("prompt", 3)
    [expected] = compose(module.shared, module.u, module.v).detach()
    assert torch.equal(saved.tensors["vectors"], expected)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_trained_weights_are_not_saved_but_their_size_is_known(fit_of, workspace, method):
    with fit_method(fit_of(method), workspace) as fitted:
        assert fitted.artifact is None
        assert fitted.num_bytes == 4 * fitted.trained_numbers


def test_a_method_trains_for_its_own_number_of_steps(fit_of, workspace):
    steps = {"adapted-factors": 2}
    for method, expected in (("adapted-factors", 2), ("prompt-tuning", 3)):
        with fit_method(fit_of(method, name=method, method_steps=steps), workspace) as fitted:
            assert fitted.progress.step == expected


def test_more_rows_are_trained_for_more_steps_unless_the_steps_are_set():
    method = METHODS["lora"]
    for rows, steps in ((0, 20), (1, 20), (63, 20), (64, 60), (255, 60), (256, 200), (9999, 200)):
        assert steps_of(method, AdaptSettings(), rows) == steps
        assert steps_of(method, AdaptSettings(steps=0), rows) == 0
        assert steps_of(method, AdaptSettings(method_steps={"lora": 7}), rows) == 7


def test_zero_steps_give_the_start(fit_of, workspace):
    fit = fit_of("adapted-metaprompt", steps=0)
    with fit_method(fit, workspace) as fitted:
        assert is_changed(fitted.tuner.module, fit) == (False, False, False)


def test_adapting_several_together_equals_adapting_each_alone(fit_of, workspace):
    """Two methods and two tasks of other lengths; equal within rounding."""
    rows = {"a": ((9, 2), (12, 3)), "b": ((20, 1), (3, 4), (6, 2))}
    fits = [
        fit_of(method, rows=rows[task], name=f"{task}/{method}")
        for method in ("adapted-factors", "adapted-metaprompt")
        for task in rows
    ]
    together = fit_methods(fits, workspace)
    for fit, one in zip(fits, together, strict=True):
        workspace.forget(fit.name)
        with fit_method(fit, workspace) as alone:
            for name, tensor in alone.artifact.tensors.items():
                torch.testing.assert_close(one.artifact.tensors[name], tensor)
        assert one.trained_numbers == alone.trained_numbers


MANY = tuple((3 + number % 5, 1 + number % 3) for number in range(70))


@pytest.mark.parametrize("method", ["adapted-metaprompt", "prompt-tuning", "lora", "full"])
def test_a_fifth_of_64_examples_or_more_chooses_the_best_state(fit_of, workspace, method):
    fit = fit_of(method, rows=MANY[:64], steps=50, validate_every=25)
    with fit_method(fit, workspace) as fitted:
        assert fitted.progress.best_step in {25, 50}
        held = hold_out(range(64), 12, seed=0)[1]
        best = loss_of(fit, fitted.tuner, [fit.start.rows[row] for row in held])
        assert best == pytest.approx(fitted.progress.best_loss, rel=1e-4)


def test_windows_of_one_note_are_not_on_both_sides(fit_of):
    start = fit_of("prompt-tuning", rows=MANY[:64], validate_every=25).start
    rows = [replace(row, note=number // 5) for number, row in enumerate(start.rows)]
    kept, held = split_rows(rows, start.config, 50, seed=1)
    assert (len(kept), len(held)) == (54, 10)  # 12 wanted: two notes of five
    assert not {rows[row].note for row in kept} & {rows[row].note for row in held}


@pytest.mark.parametrize(
    "changes",
    [{"rows": MANY[:63]}, {"steps": 49}, {"validate_every": 0}],
)
def test_few_examples_or_steps_are_all_trained_on(fit_of, workspace, changes):
    fit = fit_of("prompt-tuning", **{"rows": MANY[:64], "steps": 50, **changes})
    with fit_method(fit, workspace) as fitted:
        assert fitted.progress.best_step == 0


def test_validation_rows_of_a_task_leave_its_training_rows_whole(fit_of, workspace):
    fit = fit_of("prompt-tuning", steps=50, validate_every=25)  # three training rows
    validation = random_rows([(4, 2), (6, 1)], seed=3)
    start = replace(fit.start, validation=validation)
    with fit_method(replace(fit, start=start), workspace) as fitted:
        assert fitted.progress.best_step in {25, 50}
        best = loss_of(fit, fitted.tuner, validation)
        assert best == pytest.approx(fitted.progress.best_loss, rel=1e-4)


def test_prompts_trained_together_are_validated_as_alone(fit_of, workspace):
    # Small rates, so that rounding does not grow from step to step.
    changes = {"steps": 50, "validate_every": 25, "shared_rate": 1e-4, "factor_rate": 1e-4}
    fits = [
        fit_of("adapted-metaprompt", rows=MANY[:64], seed=seed, name=name, **changes)
        for seed, name in enumerate(("one", "two"))
    ]
    together = fit_methods(fits, workspace)
    for fit, joint in zip(fits, together, strict=True):
        alone_fit = replace(fit, name=f"alone-{fit.name}")
        with fit_method(alone_fit, workspace) as alone:
            assert joint.progress.best_step == alone.progress.best_step > 0
            assert joint.progress.best_loss == pytest.approx(alone.progress.best_loss, rel=1e-4)
