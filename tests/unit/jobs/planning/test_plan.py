"""A plan states the costs of a run, as worked by hand, without loading weights."""

import json
from pathlib import Path

import pytest
from command_line import call
from transformers import AutoConfig

from clinprompt.backbone.model_sizes import PUBLISHED, inspect_backbone, sizes_of_config
from clinprompt.cli.plan_tables import show_plan
from clinprompt.errors import SettingError
from clinprompt.jobs.planning.memory import adapter_memory, numbers_to_train, prompt_memory
from clinprompt.jobs.planning.phases import num_cells, phases
from clinprompt.jobs.planning.plan import Gpus, dry_run
from clinprompt.jobs.planning.speed import Speed, measure_speed
from clinprompt.methods.check_methods import check_methods
from clinprompt.methods.counts import metaprompt_numbers
from clinprompt.methods.resolve import on_backbone, resolve_all
from clinprompt.methods.table import METHODS
from clinprompt.settings.run import check_config, load_config

ROOT = Path(__file__).parents[4]
PAPER = ROOT / "configs" / "paper.toml"
ALL_LINEAR = '["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]'


def settings(*overrides, **values):
    return check_methods(check_config({"name": "x", **values}, source="x", overrides=overrides))


def numbers_of(method, config, outline):
    return numbers_to_train(method, by_variant(config), outline)


def phases_of(config, outline, sources, targets):
    return phases(by_variant(config), outline, sources, targets)


def by_variant(config):
    return on_backbone(resolve_all(config), config.backbone)


@pytest.fixture(scope="module")
def llama():
    name = "meta-llama/Llama-3.1-8B"
    return sizes_of_config(name, AutoConfig.for_model(**PUBLISHED[name]))


@pytest.fixture
def tiny(tiny_llama):
    return inspect_backbone(tiny_llama.name).sizes


def test_a_prompt_of_a_hundred_positions_on_eight_billion_weights(llama):
    """100·4096 = 409,600 of S; 100·1 + 1·4096 = 4,196 of the factors."""
    config = settings()
    assert numbers_of("prompt-tuning", config, llama) == 409_600
    assert numbers_of("adapted-factors", config, llama) == 4_196
    assert numbers_of("adapted-metaprompt", config, llama) == 413_796
    assert metaprompt_numbers(config, llama, 21) == 409_600 + 21 * 4_196


def test_a_segment_of_the_prompt_counts_once_for_each_type_but_a_task_has_one(llama):
    """S has 100 + 4·20 = 180 rows: 80 general ones and 20 for each of five types."""
    config = settings("prompt.segment=20")
    assert metaprompt_numbers(config, llama, 21) == 180 * 4_096 + 21 * 4_196
    assert numbers_of("adapted-metaprompt", config, llama) == 413_796


def test_lora_on_all_linear_layers_of_eight_billion_weights(llama):
    """A layer: 16·(2·(4096 + 4096) + 2·(4096 + 1024) + 3·(4096 + 14336)) = 1,310,720."""
    config = settings("baselines.lora_rank=16", f"baselines.lora_modules={ALL_LINEAR}")
    assert numbers_of("lora", config, llama) == 32 * 1_310_720 == 41_943_040


def test_every_method_has_a_count(llama):
    counts = {method: numbers_of(method, settings(), llama) for method in METHODS}
    assert {method for method, count in counts.items() if count == 0} == {
        "instruction",
        "in-context",
        "metaprompt",
    }


def test_lora_in_missing_layers_is_refused(llama):
    with pytest.raises(SettingError, match="a llama has no linear layer 'qkv'"):
        numbers_of("lora", settings('baselines.lora_modules=["qkv"]'), llama)


def test_memory_of_a_tiny_model_by_hand(tiny):
    """P = 4, one of 2 tasks a step; L = 2, H = 32, A·D = 32, G·D = 16, I = 48, V = 264."""
    config = settings(
        "prompt.length=4",
        "distill.rows=1",
        "teacher.micro_batch_tokens=10",
        "distill.micro_batch_tokens=10",
        "adapt.micro_batch_tokens=10",
        "data.max_input_tokens=16",
        "data.max_target_tokens=4",
    )
    memory = prompt_memory(config, tiny, 2)
    positions = 20  # one row is more than a micro-batch
    a_position = 2 * (20 * 32 + 4 * (2 * 32 + 2 * 16 + 3 * 48))
    assert memory.weights == 4 * tiny.num_parameters
    assert memory.keys_values == 2 * 2 * 16 * 4 * (2 * 4 + 2 * 4)
    assert memory.activations == (4 + positions) * a_position
    assert memory.logits == 3 * 4 * 4 * 264
    assert memory.trained == 16 * (4 * 32 + 2 * (4 + 32))
    adapters = adapter_memory(config, tiny, numbers_of("lora", config, tiny))
    inputs = 2 * (32 + 32 + 32 + 32)  # of q, k, v and o
    assert adapters.keys_values == 0
    assert adapters.activations == positions * (a_position + 4 * inputs)


def test_quantized_weights_and_layers_computed_again_are_counted(tiny):
    """A layer: q and o 32², k and v 32·16, three of 32·48; embeddings and head keep their type."""
    small = ("prompt.length=4", "data.max_input_tokens=16", "data.max_target_tokens=4")
    kinds = {kind: settings(*small, f"quantize={kind}") for kind in ("none", "8-bit", "4-bit")}
    linear = 2 * (2 * 32**2 + 2 * 32 * 16 + 3 * 32 * 48)
    others = 4 * (tiny.num_parameters - linear)
    found = {kind: prompt_memory(one, tiny, 2).weights for kind, one in kinds.items()}
    assert found["none"] == others + 4 * linear
    unpacked = 4 * 32 * 48  # the largest layer
    assert found["8-bit"] == others + linear + unpacked
    # A scale of 8 bits for 64 weights, and one of 32 bits for 256 scales.
    assert found["4-bit"] == int(others + linear * (0.5 + 1 / 64 + 4 / 64 / 256)) + unpacked
    plain = prompt_memory(kinds["none"], tiny, 2).activations
    again = prompt_memory(settings(*small, "gradient_checkpointing=true"), tiny, 2).activations
    a_layer = 20 * 32 + 4 * (2 * 32 + 2 * 16 + 3 * 48)
    assert again * 2 * a_layer == plain * (2 * 4 * 32 + a_layer)


def test_prompts_side_by_side_each_take_memory(tiny):
    few, many = (
        prompt_memory(settings("prompt.length=4", f"compare.together={count}"), tiny, 2)
        for count in (1, 10)
    )
    # Two sources in a distillation step, ten prompts in one of a comparison; L = 2, G·D = 16.
    assert many.keys_values - few.keys_values == 2 * 2 * 16 * 4 * 2 * (10 - 2) * 4
    assert many.activations > few.activations


def test_estimated_memory_is_near_what_was_measured():
    """docs/results/bench: a step of 16 rows of 4 tasks on SmolLM2-135M, in float32."""
    bench = json.loads((ROOT / "docs" / "results" / "bench" / "bench.json").read_text())["memory"]
    config = settings(
        f"prompt.length={bench['length']}",
        f"distill.rows={bench['rows']}",
        f"data.max_input_tokens={bench['longest']}",
        "data.max_target_tokens=16",
    )
    memory = prompt_memory(config, inspect_backbone("smollm2-135m").sizes, bench["tasks"])
    measured = next(one for one in bench["peaks"] if one["what"] == "clinprompt, metaprompt")
    added = (memory.total - memory.weights) / 1e6
    assert added == pytest.approx(measured["added MB"], rel=1 / 3)


def test_sixteen_bits_halve_weights(tiny):
    wide, narrow = (prompt_memory(settings(dtype=d), tiny, 2) for d in ("float32", "bfloat16"))
    assert narrow.weights * 2 == wide.weights
    assert narrow.keys_values * 2 == wide.keys_values


def test_work_of_a_tiny_run_by_hand(tiny):
    """Two sources, one target, rows of 8 + 2 tokens, P = 4."""
    config = settings(
        "prompt.length=4",
        "data.max_input_tokens=8",
        "data.max_target_tokens=2",
        "data.train_rows=5",
        "data.test_rows=7",
        "teacher.steps=3",
        "teacher.rows=2",
        "distill.steps=6",
        "distill.rows=3",
        "adapt.steps=2",
        "adapt.rows=4",
        'compare.methods=["metaprompt", "lora"]',
        "compare.shots=[4, 8]",
        "compare.seeds=[0, 1]",
    )
    teachers, distillation, zero, lora = phases(
        by_variant(config), tiny, {"practice": ["a", "b"]}, ["c"]
    )
    linear = 2 * (10 * tiny.layer_weights + 2 * 264 * 32)
    attention = 4 * 2 * 32 * 10 * (4 + 10 / 2)
    step = 2 * (2 * linear + 3 * attention) + 4 * 4 * tiny.layer_weights
    assert (teachers.steps, teachers.tokens) == (2 * 3, 6 * (2 * 10 + 4))
    assert teachers.operations == 6 * step
    trained = 2 * 5  # all rows there are, each once: less than 6·3
    assert distillation.tokens == 6 * (3 * 10 + 2 * 4) + trained * 10
    both = 6 * (3 * (2 * linear + 3 * attention) + 2 * 4 * 4 * tiny.layer_weights)
    assert distillation.operations == both + trained * (linear + attention)
    # Each of 7 rows of 8 tokens is read once, which predicts the first token of its answer, and the
    # prompt once for all. The second token of all 7 answers takes one pass.
    read = 2 * (8 * tiny.layer_weights + 264 * 32)
    seen = 4 * 2 * 32 * 8 * (4 + 8 / 2)
    assert (zero.name, zero.steps, zero.tokens) == ("metaprompt (1)", 0, 7 * 8 + 4 + 7)
    assert zero.operations == 7 * (read + seen) + 4 * 2 * tiny.layer_weights
    assert (zero.work.decoding_steps, zero.work.decoded) == (1, 7)
    bare = 4 * 2 * 32 * 10 * (10 / 2)
    assert (lora.name, lora.steps) == ("lora (4)", 4 * 2)
    assert lora.work.read == 4 * 7 * (read + 4 * 2 * 32 * 8 * (8 / 2))
    assert lora.work.trained == 4 * 2 * 4 * (2 * linear + 3 * bare)
    assert lora.operations == lora.work.read + lora.work.trained
    speed = Speed(reading=1000.0, training=500.0, step_seconds=2.0, row_seconds=3.0)
    decoding = 4 * (2.0 + 7 * 3.0)
    assert lora.seconds(speed) == lora.work.read / 1000 + lora.work.trained / 500 + decoding
    assert [one.is_shared for one in (teachers, distillation, zero, lora)] == [
        True,
        False,
        True,
        True,
    ]


def test_cells_are_those_of_the_grid():
    config = settings('compare.shots=[4, "all"]', "compare.seeds=[0, 1, 2]")
    assert num_cells("instruction", config, 5) == 5
    assert num_cells("lora", config, 5) == 2 * 3 * 5
    assert num_cells("in-context", config, 5) == 3 * 5


def test_a_variant_and_steps_of_a_method_count_as_its_own(tiny):
    config = settings(
        "variants.short.prompt.length=2",
        'compare.methods=["prompt-tuning", "prompt-tuning@short", "full"]',
        "adapt.method_steps.full=3",
        "compare.shots=[4]",
    )
    assert numbers_of("prompt-tuning@short", config, tiny) == 2 * 32
    assert numbers_of("full", config, tiny) == tiny.num_parameters
    plain, short, full = phases(
        by_variant(config), tiny, {}, ["b"]
    )  # none of these needs a metaprompt
    assert short.operations < plain.operations
    assert (plain.steps, full.steps) == (20, 3)


def test_steps_and_rows_count_as_they_are_for_each_number_of_examples(tiny):
    """2 draws at 4 examples and 2 at 64: 3 and 5 steps each, once for each of two targets."""
    grid = ('compare.methods=["lora"]', "adapt.steps=3", "compare.seeds=[0, 1]")
    few, many, both = (
        phases(by_variant(settings(*grid, *own)), tiny, {}, ["b", "c"])[0]
        for own in (
            ("compare.shots=[4]",),
            ("compare.shots=[64]", "adapt.steps=5", "adapt.rows=40"),
            ("compare.shots=[4, 64]", "at_shots.64.adapt.steps=5", "at_shots.64.adapt.rows=40"),
        )
    )
    assert both.steps == 2 * 2 * 3 + 2 * 2 * 5
    assert both.operations == few.operations + many.operations


def test_a_prompt_in_all_layers_is_as_wide_as_their_keys_and_values(tiny):
    """L = 2, G·D = 16: 2·2·16 = 64 numbers a position."""
    config = settings("prompt.length=4", "prompt.placement=layers")
    assert numbers_of("prompt-tuning", config, tiny) == 4 * 64
    assert numbers_of("adapted-factors", config, tiny) == 4 + 64


def test_a_comparison_on_some_targets_is_planned_for_these(tmp_path):
    config = load_config(PAPER, ['compare.targets=["qa-medbullets"]'])
    plan = dry_run(config, tmp_path, rate=1e12)
    assert [task.name for task in plan.tasks if task.role == "target"] == ["qa-medbullets"]
    # The other seven are read as well: sources are cleaned of their text.
    assert sum(task.role == "overlap" for task in plan.tasks) == 7
    with pytest.raises(SettingError, match="did you mean qa-medbullets"):
        dry_run(load_config(PAPER, ['compare.targets=["qa-medbulet"]']), tmp_path, rate=1e12)


def test_a_given_metaprompt_sets_the_shape_and_needs_no_sources(tmp_path):
    """The one in the package: 20 positions in every layer, 30 layers of 2·192 numbers each."""
    values = {"metaprompt": "shipped", "suite": "open21", "variants": {"slow": {"adapt": {}}}}
    config = settings('compare.methods=["prompt-tuning", "adapted-factors@slow"]', **values)
    plan = dry_run(config, tmp_path, rate=1e12)
    assert (plan.length, {task.role for task in plan.tasks}) == (20, {"target"})
    costs = plan.backbones[0].costs
    width = 30 * 2 * 192
    assert costs.numbers == {"prompt-tuning": 20 * width, "adapted-factors@slow": 20 + width}
    assert [phase.name.partition(" ")[0] for phase in costs.phases] == list(config.compare.methods)


def test_what_variants_distill_for_themselves_is_counted_once(tiny):
    variants = {"deep": {"prompt": {"placement": "layers"}}, "same": {"adapt": {"steps": 1}}}
    methods = ["metaprompt", "metaprompt@deep", "adapted-factors@same"]
    config = settings(variants=variants, compare={"methods": methods, "shots": [2]})
    names = [phase.name for phase in phases_of(config, tiny, {"practice": ["a", "b"]}, ["c"])]
    assert names[:4] == ["teachers", "distillation", "teachers@deep", "distillation@deep"]
    assert len(names) == 4 + len(methods)


def test_controls_are_trained_on_sources_once_unless_a_variant_changes_that(tiny):
    """Steps of 2 rows: 7 of distillation; two targets, one seed, 16 and 64 shots of 3 steps."""
    methods = ["multitask-prompt", "lora-multitask@slow", "lora-multitask", "lora-multitask@wide"]
    config = settings(
        "distill.steps=7",
        "distill.rows=2",
        "adapt.steps=3",
        compare={"methods": methods},
        variants={
            "slow": {"baselines": {"lora_rate": 0.001}},
            "wide": {"baselines": {"lora_rank": 16}},
        },
    )
    found = phases_of(config, tiny, {"practice": ["a", "b", "c"]}, ["d", "e"])
    steps = {phase.name: phase.steps for phase in found}
    assert steps == {
        "multitask-prompt on sources": 7,
        "lora-multitask@slow on sources": 7,
        "lora-multitask@wide on sources": 7,
        "multitask-prompt (4)": 12,
        "lora-multitask@slow (4)": 12,
        "lora-multitask (4)": 12,
        "lora-multitask@wide (4)": 12,
    }
    # A row has 512 + 128 tokens. Each step reads the prompt for two tasks, 100 positions each time.
    tokens = {phase.name: phase.tokens for phase in found}
    assert tokens["lora-multitask@wide on sources"] == 7 * 2 * 640
    assert tokens["multitask-prompt on sources"] == 7 * (2 * 640 + 2 * 100)


def test_adapters_that_are_trained_on_sources_need_the_memory_of_the_larger_micro_batches(tiny):
    config = settings("distill.micro_batch_tokens=4096", "adapt.micro_batch_tokens=1024")
    alone = adapter_memory(config, tiny, 10)
    first = adapter_memory(config, tiny, 10, on_sources=True)
    assert first.activations == 4 * alone.activations
    assert first.weights == alone.weights


def test_a_comparison_of_controls_reads_the_sources(tmp_path):
    plan = dry_run(settings(compare={"methods": ["multitask-prompt"]}), tmp_path, rate=1e12)
    assert {task.role for task in plan.tasks} == {"source", "target"}
    assert plan.backbones


def test_pefts_prompt_is_before_the_input_at_every_placement(tiny):
    config = settings("prompt.length=4", "prompt.placement=layers")
    assert numbers_of("peft-mpt", config, tiny) == 4 * 32 + 4 + 32


def test_a_shape_that_the_metaprompt_does_not_have_is_refused_before_the_run(tmp_path):
    with pytest.raises(
        SettingError, match=r"prompt.length = 50, but the metaprompt shipped has 20"
    ):
        dry_run(settings("prompt.length=50", metaprompt="shipped"), tmp_path, rate=1e12)


def test_a_comparison_without_metaprompts_reads_no_source(tmp_path):
    plan = dry_run(load_config(PAPER, ['compare.methods=["lora"]']), tmp_path, rate=1e12)
    assert {task.role for task in plan.tasks} == {"target"}


def test_speed_is_measured_without_weights(tiny):
    speed = measure_speed(tiny, "float32")
    assert min(speed.reading, speed.training, speed.step_seconds) > 0
    assert speed.row_seconds >= 0


def test_the_papers_plan_says_what_is_missing(tmp_path):
    plan = dry_run(load_config(PAPER), tmp_path, rate=1e15)
    assert [one.is_there for one in plan.backbones] == [False] * 3
    assert all("hf download" in one.remedy for one in plan.backbones)
    llama, meditron, gpt_oss = (one.costs for one in plan.backbones)
    assert llama == meditron
    assert llama.numbers["adapted-metaprompt"] == 413_796
    assert llama.weight_bytes == 2 * 8_030_261_248
    assert gpt_oss.numbers["adapted-factors"] == 100 + 2880
    by_name = {task.name: task for task in plan.tasks}
    assert len(by_name) == 21 + 8
    assert by_name["n2c2-2022-sdoh"].status == "gated"
    assert "request" in by_name["n2c2-2022-sdoh"].remedy
    assert by_name["qa-medbullets"].status == "missing"
    assert "clinprompt tasks fetch qa-medbullets" in by_name["qa-medbullets"].remedy
    assert any("UF Health" in lack for lack in plan.missing)


def test_all_three_backbones_of_the_paper_train_on_a_gpu_of_80_gigabytes(tmp_path):
    plan = dry_run(load_config(PAPER), tmp_path, rate=4e14, gpus=Gpus(num_bytes=80e9))
    for one in plan.backbones:
        assert one.costs.prompt_memory.total < 80e9, one.name
        assert one.costs.lora_memory.total < 80e9, one.name
        assert one.costs.fitting_tokens == 1024


def test_a_micro_batch_that_fits_is_found_and_named(tmp_path, capsys):
    tokens = [f"{phase}.micro_batch_tokens=8192" for phase in ("teacher", "distill", "adapt")]
    name = "openai/gpt-oss-20b"
    config = load_config(PAPER, [*tokens, f"backbone={name}", f'compare.backbones=["{name}"]'])
    plan = dry_run(config, tmp_path, rate=4e14, gpus=Gpus(num_bytes=80e9))
    [one] = plan.backbones
    assert one.costs.prompt_memory.total > 80e9
    assert one.costs.fitting_tokens == 1024
    show_plan(plan, as_json=False)
    assert "micro_batch_tokens = 1024 in" in " ".join(capsys.readouterr().out.split())
    too_small = dry_run(config, tmp_path, rate=4e14, gpus=Gpus(num_bytes=40e9))
    assert too_small.backbones[0].costs.fitting_tokens == 0


def test_two_gpus_share_teachers_and_cells_but_not_a_distillation(tmp_path):
    config = load_config(PAPER, ['compare.methods=["adapted-metaprompt"]'])
    one, two = (
        dry_run(config, tmp_path, rate=4e14, gpus=Gpus(count)).backbones[0].costs
        for count in (1, 2)
    )
    teachers, distillation, cells = one.phases
    assert one.phases == two.phases
    assert two.seconds_of(teachers) == one.seconds_of(teachers) / 2
    assert two.seconds_of(distillation) == one.seconds_of(distillation)
    assert two.seconds_of(cells) == one.seconds_of(cells) / 2
    assert two.seconds < one.seconds


def test_rows_are_counted_in_tokens_of_the_default_backbone_if_the_own_tokenizer_is_missing():
    config = settings(
        backbone="meta-llama/Llama-3.1-8B",
        suite="practice",
        compare={"methods": ["instruction"], "targets": ["practice-ner-drugs"]},
    )
    [one] = dry_run(config, None, rate=1e12).backbones
    assert not one.is_there
    assert one.tokenizer == "smollm2-135m"
    [_, cells] = one.costs.phases
    longest = config.data.test_rows * config.data.max_input_tokens
    assert 0 < cells.tokens < longest / 2
    assert cells.work.decoding_steps > 0


def test_present_data_is_reported(tmp_path, tiny_llama_folder):
    config = settings("adapt.routing=all", backbone=str(tiny_llama_folder))
    plan = dry_run(config, None, rate=1e12)
    assert [one.is_there for one in plan.backbones] == [True]
    assert {(task.status, task.remedy) for task in plan.tasks} == {("there", "")}


def test_a_backbone_of_unknown_sizes_is_reported_without_costs():
    plan = dry_run(settings(backbone="nobody/nothing-1b"), None, rate=1e12)
    assert plan.backbones[0].costs is None
    assert "nobody/nothing-1b" in plan.backbones[0].remedy


def plan_with(*options, folder):
    """Plan the comparison of the paper from a folder, with an empty cache."""
    cache = {"CLINPROMPT_CACHE": str(folder / "cache")}
    return call("compare", PAPER, *options, folder=folder, columns=80, environment=cache)


def test_the_command_prints_the_papers_plan_on_eighty_columns(tmp_path):
    result = plan_with("--dry-run", "--rate", 400, folder=tmp_path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert max(map(len, result.stdout.splitlines())) <= 80
    for words in ("8.03 B", "20.91 B", "413,796", "gated", "400 TFLOP/s", "UF Health", "0 of 29"):
        assert words in result.stdout
    assert [path.name for path in tmp_path.iterdir() if path.name == "runs"] == []


def test_a_plan_is_printed_as_json(tmp_path, capsys):
    show_plan(dry_run(load_config(PAPER), tmp_path, rate=4e14), as_json=True)
    plan = json.loads(capsys.readouterr().out)
    assert plan["rate"] == 4e14
    assert plan["backbones"][0]["costs"]["numbers"]["adapted-factors"] == 4196


@pytest.mark.parametrize("option", [["--rate", "400"], ["--json"]])
def test_options_of_a_dry_run_are_refused_without_it(option, tmp_path):
    result = plan_with(*option, folder=tmp_path)
    assert result.exit_code == 2
    assert f"{option[0]} has no effect without --dry-run" in result.stderr
