"""Positions of the metaprompt belong to task types: a task's prompt has its own type's segment."""

import json
from dataclasses import replace

import pytest
import torch
from opened_run import manifest_in, metaprompt_in, open_run
from tiny import HIDDEN, change_json, random_prompts, random_rows

from clinprompt.errors import ArtifactError, SettingError
from clinprompt.jobs.fit_method import MethodFit, fit_method
from clinprompt.methods.method import Start
from clinprompt.methods.resolve import with_shape
from clinprompt.methods.routing import starting_prompt
from clinprompt.methods.table import METHODS
from clinprompt.prompts.artifact import load_artifact, make_artifact, save_artifact
from clinprompt.prompts.decomposed import DecomposedPrompts, compose, neutral_factors
from clinprompt.prompts.initializers import mean_of_teachers
from clinprompt.prompts.segments import Segments
from clinprompt.prompts.store import open_prompt
from clinprompt.settings.run import check_config
from clinprompt.tasks.card import find_card
from clinprompt.tasks.kinds import TASK_TYPES
from clinprompt.tasks.load import load_task

LENGTH, SEGMENT, RANK = 4, 2, 2
SOURCES = ("practice-ner-labs", "practice-ner-problems", "practice-nli-history")
FIT = {"steps": 2, "rows": 3, "warmup_steps": 0, "checkpoint_every": 5}
SMALL = Segments(2, 1, ("ner", "nli"))  # a general row, and a row for each of two types


def routed(types, *, rank=1, length=LENGTH, segment=SEGMENT):
    """Return a metaprompt for tasks of these types, and its positions by type."""
    segments = Segments(length, segment)
    draw = torch.Generator().manual_seed(3)
    shared = torch.randn(segments.num_rows, HIDDEN, generator=draw)
    factors = neutral_factors(
        len(types), length=length, hidden_size=HIDDEN, rank=rank, generator=draw
    )
    return DecomposedPrompts(shared, *factors, route=segments.route(types))


def rows_of(owner):
    """Return the positions that belong to a type, or to all types ("")."""
    num_general = LENGTH - SEGMENT
    if not owner:
        return slice(0, num_general)
    begin = num_general + TASK_TYPES.index(owner) * SEGMENT
    return slice(begin, begin + SEGMENT)


def test_a_tasks_prompt_has_its_types_segment_worked_by_hand():
    shared = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])  # general, ner, nli
    u = torch.tensor([[[1.0], [2.0]], [[1.0], [-1.0]]])
    v = torch.tensor([[[1.0, 10.0]], [[2.0, 0.5]]])
    module = DecomposedPrompts(shared, u, v, route=SMALL.route(["nli", "ner"]))
    # Task 0, nli: [[1, 2], [5, 6]] ∘ [[1, 10], [2, 20]]; task 1, ner: [[1, 2], [3, 4]] ∘
    # [[2, 0.5], [-2, -0.5]].
    nli, ner = [[1.0, 20.0], [10.0, 120.0]], [[2.0, 1.0], [-6.0, -2.0]]
    assert module([0, 1]).tolist() == [nli, ner]
    assert module([1]).tolist() == [ner]


def test_a_type_without_a_source_has_the_mean_of_the_trained_segments_worked_by_hand():
    shared = torch.tensor([[1.0], [3.0], [5.0], [100.0]])
    segments = Segments(2, 1, ("ner", "nli", "qa"))
    mean = segments.of_type(shared, "qa", known={"ner", "nli"})
    assert mean.tolist() == [[1.0], [4.0]]
    assert segments.of_type(shared, "nli", known={"ner", "nli"}).tolist() == [[1.0], [5.0]]


def test_segments_start_as_the_mean_of_their_types_teachers_worked_by_hand():
    teachers = [torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0]])]
    one_type_alone = SMALL.mean([*teachers, torch.tensor([[8.0], [9.0]])], ["ner", "ner", "nli"])
    # The general row is (1 + 3 + 8) / 3, that of ner (2 + 4) / 2, that of nli 9.
    assert one_type_alone.tolist() == [[4.0], [3.0], [9.0]]
    # The general row is (1 + 3) / 2, both segments (2 + 4) / 2, as no teacher is of type nli.
    assert SMALL.mean(teachers, ["ner", "ner"]).tolist() == [[2.0], [3.0], [3.0]]


def test_the_segments_of_all_types_can_start_equal():
    shared = SMALL.repeat_prompt(torch.tensor([[1.0], [2.0]]))
    assert shared.tolist() == [[1.0], [2.0], [2.0]]


@pytest.mark.parametrize("task", [0, 1, 2])
def test_a_tasks_gradient_reaches_its_segment_the_general_rows_and_no_other(task):
    types = ["ner", "nli", "ner"]
    module = routed(types)
    module([task]).sum().backward()
    reached = module.shared.grad.abs().sum(dim=1) > 0
    expected = torch.zeros_like(reached)
    expected[rows_of("")] = expected[rows_of(types[task])] = True
    assert torch.equal(reached, expected)


def test_tasks_of_one_type_add_to_one_segment():
    module = routed(["ner", "nli", "ner"])
    module([0, 1, 2]).sum().backward()
    # Factors are 1: each number's gradient is how many tasks use it.
    assert module.shared.grad[rows_of("")].unique().tolist() == [3.0]
    assert module.shared.grad[rows_of("ner")].unique().tolist() == [2.0]
    assert module.shared.grad[rows_of("nli")].unique().tolist() == [1.0]


def test_without_segments_it_equals_the_plain_metaprompt_to_the_bit():
    teachers, types = list(random_prompts(3, LENGTH)), ["ner", "nli", "ner"]
    segments = Segments(LENGTH, 0)
    shared = mean_of_teachers(teachers)
    assert segments.num_rows == LENGTH
    assert torch.equal(segments.mean(teachers, types), shared)
    assert torch.equal(segments.repeat_prompt(shared), shared)
    assert torch.equal(segments.of_type(shared, "qa", known={"ner"}), shared)
    module = routed(types, segment=0)
    plain = DecomposedPrompts(module.shared, module.u, module.v)
    for one in (module, plain):
        (one([0, 2]) ** 2).sum().backward()
    assert torch.equal(module([0, 2]), plain([0, 2]))
    assert torch.equal(module.shared.grad, plain.shared.grad)


@pytest.fixture
def run(tmp_path, tiny_llama_folder):
    """Return a function that opens a run with a routed metaprompt and further settings."""

    def open_routed(name="run", segment=SEGMENT, **values):
        settings = {"name": "x", "backbone": str(tiny_llama_folder), "device": "cpu"}
        prompt = {"length": LENGTH, "rank": RANK, "segment": segment, **values.pop("prompt", {})}
        settings |= {"prompt": prompt, "adapt": {**FIT, "routing": "all"}, **values}
        return open_run(tmp_path / name, check_config(settings, source="x"))

    return open_routed


def metaprompt_of(run, sources=SOURCES):
    cards = [find_card(name) for name in sources]
    manifest = manifest_in(run, "metaprompt", cards)
    draw = torch.Generator().manual_seed(5)
    shapes = {
        "shared": (manifest.segments.num_rows, manifest.hidden_size),
        "u": (len(cards), LENGTH, RANK),
        "v": (len(cards), RANK, manifest.hidden_size),
    }
    tensors = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    return make_artifact(manifest, tensors)


def test_a_saved_routed_metaprompt_loads_exactly(run, tmp_path):
    saved = metaprompt_of(run())
    save_artifact(tmp_path / "mine", saved)
    found = load_artifact(tmp_path / "mine")
    assert found.manifest == saved.manifest
    assert (found.manifest.segment, found.manifest.types) == (SEGMENT, TASK_TYPES)
    # 2 general rows and 2 for each of 5 types.
    assert found.tensors["shared"].shape == (12, HIDDEN)
    assert all(torch.equal(found.tensors[name], saved.tensors[name]) for name in saved.tensors)


def test_a_metaprompt_saved_before_there_were_segments_loads(run, tmp_path):
    saved = metaprompt_of(run(segment=0))
    save_artifact(tmp_path / "mine", saved)
    path = tmp_path / "mine" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["segment"], manifest["types"]
    path.write_text(json.dumps(manifest))
    found = load_artifact(tmp_path / "mine")
    assert found.manifest == saved.manifest
    assert torch.equal(found.shared_for("qa"), saved.tensors["shared"])


@pytest.mark.parametrize("routing", ["all", "nearest"])
@pytest.mark.parametrize(
    ("task", "segment_of"),
    [
        ("practice-ner-drugs", ["ner"]),
        ("practice-nli-social", ["nli"]),
        ("practice-sum-plan", ["ner", "nli"]),
    ],
)
def test_a_new_task_starts_from_the_segment_of_its_type(run, task, segment_of, routing):
    own = run(adapt={**FIT, "routing": routing})
    metaprompt = metaprompt_of(own)
    shared = metaprompt.tensors["shared"]
    examples = random_rows([(9, 2), (12, 3)])
    given = Start(own.config, own.backbone, find_card(task), examples)
    start = starting_prompt(given, metaprompt).shared
    trained = torch.stack([shared[rows_of(one)] for one in segment_of])
    assert torch.equal(start[: LENGTH - SEGMENT], shared[rows_of("")])
    torch.testing.assert_close(start[LENGTH - SEGMENT :], trained.mean(dim=0), rtol=0, atol=0)


@pytest.mark.parametrize("placement", ["prefix", "suffix", "layers"])
@pytest.mark.parametrize("method", ["adapted-factors", "adapted-metaprompt"])
@pytest.mark.parametrize("task", ["practice-nli-social", "practice-sum-plan"])
def test_an_adapted_prompt_is_opened_as_it_was_trained(run, task, method, placement):
    own = run(prompt={"placement": placement})
    metaprompt = metaprompt_of(own)
    own.workspace.store.save(metaprompt)
    rows = [replace(row, task=0) for row in random_rows([(9, 2), (12, 3)])]
    start = Start(own.config, own.backbone, find_card(task), rows, metaprompt=metaprompt)
    with fit_method(MethodFit(METHODS[method], start, "mine"), own.workspace) as fitted:
        trained = fitted.tuner.prompts([0])[0].detach()
        folder = own.workspace.store.save(fitted.artifact)
    assert trained.shape[0] == LENGTH
    assert torch.equal(open_prompt(folder)[1], trained)


def test_an_adapted_copy_of_a_routed_metaprompt_trains_as_many_numbers_as_a_plain_one(run):
    own = run()
    card, rows = find_card(SOURCES[0]), random_rows([(9, 2)])
    start = Start(own.config, own.backbone, card, rows, metaprompt=metaprompt_of(own))
    with fit_method(
        MethodFit(METHODS["adapted-metaprompt"], start, "mine"), own.workspace
    ) as fitted:
        assert fitted.trained_numbers == LENGTH * HIDDEN + RANK * (LENGTH + HIDDEN)


def test_a_segment_of_a_type_without_a_source_keeps_its_initial_values(run):
    data = {"max_input_tokens": 400, "train_rows": 4, "validation_rows": 2}
    own = run(data=data, teacher=FIT, distill={**FIT, "start": "vocabulary"})
    sources = [load_task(find_card(name), None) for name in SOURCES[1:]]
    metaprompt = metaprompt_in(own, sources)
    shared = metaprompt.tensors["shared"]
    assert torch.equal(shared[rows_of("qa")], shared[rows_of("re")])
    parts = [shared[rows_of(one)] for one in ("ner", "nli", "qa")]
    assert not torch.equal(parts[0], parts[1])
    assert not torch.equal(parts[0], parts[2])
    assert not torch.equal(parts[1], parts[2])


def test_without_segments_distillation_gives_the_plain_metaprompt(run):
    data = {"max_input_tokens": 400, "train_rows": 4, "validation_rows": 2}
    sources = [load_task(find_card(name), None) for name in SOURCES[1:]]
    own = run(segment=0, data=data, teacher=FIT, distill=FIT)
    saved = metaprompt_in(own, sources)
    assert saved.tensors["shared"].shape == (LENGTH, HIDDEN)
    assert (saved.manifest.segment, saved.manifest.types) == (0, ())


def test_a_run_takes_the_segment_of_a_saved_metaprompt(run):
    metaprompt = metaprompt_of(run())
    other = check_config({"name": "x", "prompt": {"length": 50}}, source="x")
    assert with_shape(other, metaprompt).prompt.segment == SEGMENT


@pytest.mark.parametrize(
    ("segment", "words"),
    [
        (LENGTH, "segment = 4 must be less than length = 4"),
        (9, "segment = 9 must be less than length = 4"),
        (-1, "prompt.segment: must be at least 0"),
    ],
)
def test_a_segment_that_does_not_fit_is_refused(segment, words):
    prompt = {"length": LENGTH, "segment": segment}
    with pytest.raises(SettingError, match=words):
        check_config({"name": "x", "prompt": prompt}, source="x")


@pytest.mark.parametrize("values", [{"segment": LENGTH}, {"types": ["qa"]}, {"segment": 1}])
def test_a_manifest_whose_segments_do_not_fit_is_refused(run, tmp_path, values):
    save_artifact(tmp_path / "mine", metaprompt_of(run()))
    change_json(tmp_path / "mine" / "manifest.json", **values)
    with pytest.raises(ArtifactError, match=r"damaged|its manifest says"):
        load_artifact(tmp_path / "mine")


def test_factors_are_composed_with_the_segment_of_their_type(run):
    own = run()
    metaprompt = metaprompt_of(own)
    own.workspace.store.save(metaprompt)
    card = find_card("practice-nli-social")
    known = {"metaprompt": metaprompt.manifest.content_hash}
    manifest = manifest_in(own, "factors", [card]).model_copy(update=known)
    u, v = torch.ones(LENGTH, RANK), torch.ones(RANK, HIDDEN)
    folder = own.workspace.store.save(make_artifact(manifest, {"u": u, "v": v}))
    shared = metaprompt.tensors["shared"]
    picked = torch.cat([shared[rows_of("")], shared[rows_of("nli")]])
    assert torch.equal(open_prompt(folder)[1], compose(picked, u[None], v[None])[0])
