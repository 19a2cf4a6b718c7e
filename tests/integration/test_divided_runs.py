"""Two processes that divide the backbone distill, adapt and score like one process."""

from pathlib import Path

import pytest
from safetensors.torch import load_file
from several_processes import in_processes
from small_comparison import FIT, config_of
from tiny import KillAfter, Killed

from clinprompt import api
from clinprompt.jobs.distill import distill_suite
from clinprompt.prompts.artifact import load_artifact
from clinprompt.training.progress import Silent

TASK = "practice-nli-social"
DIVIDED = {"tensor_parallel": True}
pytestmark = pytest.mark.slow


def config_in(folder, model, placement):
    """Return settings of two teachers and a metaprompt, which change little in their few steps.

    Adam's first steps are as large for gradients of rounding errors as for others.
    """
    rates = {"shared_rate": 1e-4, "factor_rate": 1e-4}
    slow, distill = {**FIT, "steps": 2, "learning_rate": 1e-4}, {**FIT, **rates}
    prompt = {"length": 4, "placement": placement}
    adapt = {**FIT, **rates}
    return config_of(folder, model, prompt=prompt, teacher=slow, distill=distill, adapt=adapt)


def distilled(folder, config, reporter=None):
    """Distill in a folder; return the metaprompt's tensors and its folder."""
    saved = distill_suite(folder, config, mirror=None, reporter=reporter or Silent())
    return {
        name: one.numpy() for name, one in load_file(saved / "prompt.safetensors").items()
    }, saved


def scored(metaprompt, folder, model, **settings):
    """Adapt a metaprompt and score the prompt; return both."""
    changes = {"backbone": str(model), "device": "cpu", "adapt.steps": 2, **settings}
    own = api.adapt(TASK, shots=4, metaprompt=str(metaprompt), folder=folder, settings=changes)
    cell = own.evaluate(num_rows=3)
    return own.loaded.prompt.numpy(), cell.value, cell.num_rows


def assert_close(found, expected):
    """Compare tensors by the norm of their difference."""
    assert found.keys() == expected.keys()
    for name, one in expected.items():
        assert ((found[name] - one) ** 2).sum() <= 1e-8 * (one**2).sum(), name


def test_a_metaprompt_is_distilled_adapted_and_scored_as_by_one_process(
    tmp_path, tiny_llama_folder
):
    config = config_in(tmp_path, tiny_llama_folder, "layers")
    expected, saved = distilled(tmp_path / "one", config)
    prompt, *score = scored(saved, tmp_path / "adapted", tiny_llama_folder)

    def distills(_):
        return distilled(tmp_path / "two", config.model_copy(update=DIVIDED))

    def adapts(_):
        return scored(saved, tmp_path / "adapted-two", tiny_llama_folder, **DIVIDED)

    (first, place), (other, elsewhere) = in_processes(2, distills, seconds=300)
    assert_close(first, expected)
    assert_close(other, first)
    assert Path(place).is_relative_to(tmp_path / "two")
    assert not Path(elsewhere).is_relative_to(tmp_path)
    for adapted, *found in in_processes(2, adapts, seconds=300):
        assert_close({"prompt": adapted}, {"prompt": prompt})
        assert found == score
    settings = load_artifact(Path(place)).manifest.settings
    assert "tensor_parallel" not in settings, "a prompt may be adapted in one process"


def test_a_killed_distillation_continues_although_one_process_has_cached_outputs(
    tmp_path, tiny_llama_folder
):
    """Two steps for each of two teachers, and two of the three of the metaprompt."""
    config = config_in(tmp_path, tiny_llama_folder, "prefix")
    expected, _ = distilled(tmp_path / "one", config)
    divided = config.model_copy(update=DIVIDED)

    def stopped(rank):
        with pytest.raises(Killed):
            distilled(tmp_path / "run", divided, KillAfter(2 + 2 + 2))

    def work(rank):
        return distilled(tmp_path / "run", divided)[0]

    in_processes(2, stopped, seconds=300)
    assert (tmp_path / "run" / "checkpoints" / "teachers.cache").is_file()
    for found in in_processes(2, work, seconds=300):
        assert_close(found, expected)
