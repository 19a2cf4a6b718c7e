"""Settings are checked strictly; an override is worth what TOML says it is."""

from pathlib import Path

import pytest

from clinprompt.errors import SettingError
from clinprompt.methods.check_methods import check_methods
from clinprompt.methods.resolve import on_backbone, resolve_all, variants_to_distill
from clinprompt.settings.run import check_config, load_config
from clinprompt.tasks.suite import find_suite

CONFIGS = sorted((Path(__file__).parents[3] / "configs").glob("*.toml"))


def check(*overrides, **values):
    config = check_config({"name": "x", **values}, source="c.toml", overrides=overrides)
    return check_methods(config)


def test_defaults_stand_where_nothing_is_set():
    config = check()
    assert (config.prompt.length, config.adapt.steps, config.teacher.steps) == (100, None, 300)


def test_settings_are_restored_from_their_json():
    config = check("prompt.length=7", "compare.shots=[4, 8]")
    assert type(config).model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("override", "section", "name", "value"),
    [
        ("prompt.length=7", "prompt", "length", 7),
        ("teacher.learning_rate = 1e-3", "teacher", "learning_rate", 1e-3),
        ("compare.shots=[4, 8]", "compare", "shots", (4, 8)),
        ("prompt.text=Read it. Now.", "prompt", "text", "Read it. Now."),
        ('prompt.text="Read it."', "prompt", "text", "Read it."),
        ("prompt.text=a=b", "prompt", "text", "a=b"),
        ('compare.methods=["lora"]', "compare", "methods", ("lora",)),
    ],
)
def test_an_override_is_read_as_toml_else_as_text(override, section, name, value):
    assert getattr(getattr(check(override), section), name) == value


def test_an_override_goes_before_the_file_and_the_last_one_counts():
    assert check("seed=2", "seed=3", seed=1).seed == 3


@pytest.mark.parametrize("override", ["seed", "=1", "prompt.=1", "", "seed.deep=1"])
def test_an_override_that_names_nothing_is_refused(override):
    with pytest.raises(SettingError, match="override"):
        check(override, seed=1)


STEPS_OF_NO_METHOD = {"adapt": {"method_steps": {"x": 1}}}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sed": 1}, "c.toml: sed: unknown setting; did you mean seed"),
        ({"prompt": {"lenght": 1}}, "prompt.lenght: unknown setting; did you mean length"),
        ({"prompt": {"length": 0}}, "prompt.length: must be at least 1"),
        ({"prompt": 5}, "prompt: must be a section with values by name"),
        ({"distill": {"temperature": 0}}, r"distill.temperature: must be more than 0 \(given: 0\)"),
        ({"adapt": {"routing": "best"}}, "adapt.routing: .*'all', 'type' or 'nearest'"),
        ({"compare": {"methods": ["loar"]}}, "methods: 'loar' is no method; did you mean lora"),
        ({"seed": "one"}, "seed: must be a whole number"),
        ({"seed": True}, r"seed: must be a whole number \(given: True\)"),
        ({"adapt": {"steps": True}}, "adapt.steps: must be a whole number"),
        ({"adapt": {"shared_rate": False}}, "adapt.shared_rate: must be a number"),
        ({"data": {"nothing_share": True}}, "data.nothing_share: must be a number"),
        ({"device": "gpu"}, "device: must be auto, cpu, mps, cuda, or cuda: and a number"),
        ({"shared_rate": 1}, "unknown setting; did you mean distill.shared_rate or adapt.shared_"),
        (
            {"search": {"tasks": ["a"], "trials": {"lora": [{}]}, "shot": 4}},
            "search.shot: unknown setting; did you mean shots",
        ),
        (
            {"backbone": "c", "compare": {"backbones": ["a", "b"]}},
            "lacks the run's own backbone, 'c'",
        ),
        (
            {"backbone": "/a/model", "compare": {"backbones": ["/a/model", "/b/model"]}},
            "compare.backbones: two folders are named 'model'",
        ),
        (
            {"dtype": "bfloat16", "compare": {"methods": ["full"]}},
            "method full changes the weights themselves: set dtype = 'float32'",
        ),
        (
            {"metaprompt": "shipped", "compare": {"methods": ["spot"]}},
            "method spot starts from prompts of single sources",
        ),
        ({"variants": {"v": {"device": "cpu"}}}, "device is the same in all variants"),
        ({"at_shots": {"16": {"adapt": {"step": 1}}}}, "at_shots.16: adapt.step: unknown setting"),
        ({"at_shots": {"16": {"data": {"test_rows": 1}}}}, "data.test_rows is the same for any"),
        ({"at_shots": {"16": {"adapt": {"routing": "all"}}}}, "adapt.routing is the same for any"),
        (
            {"at_shots": {"16": {"adapt": {"steps": 1}}}, "variants": {"v": {"adapt": 5}}},
            "variants.v: adapt: must be a section",
        ),
        ({"at_shots": {"few": {}}}, "at_shots.few.*must be a number of examples, or all"),
        (
            {"at_shots": {"all": {"adapt": {"method_steps": {"loar": 1}}}}},
            "at_shots.all.adapt.method_steps: 'loar' is no method; did you mean lora",
        ),
        (
            {"adapt": {"method_steps": {"lora@wide": 1}}},
            "adapt.method_steps: 'lora@wide' is no method; write lora",
        ),
        (
            {"adapt": {"method_steps": {"instruction": 1}}},
            "adapt.method_steps: instruction trains nothing, so it takes no steps",
        ),
        (
            {"variants": {"v": {"adapt": {"method_steps": {"loar": 1}}}}},
            "variants.v.adapt.method_steps: 'loar' is no method",
        ),
        (
            {"search": {"tasks": ["a"], "trials": {"lora@wide": [{}]}}},
            "search.trials: 'lora@wide' is no method; write lora",
        ),
        (
            {
                "search": {
                    "tasks": ["a"],
                    "trials": {"lora": [{"adapt": {"method_steps": {"x": 1}}}]},
                }
            },
            "search.trials.lora: adapt.method_steps: 'x' is no method",
        ),
        (
            {"compare": {"methods": ["lora@wide"]}},
            r"^c.toml: compare.methods: no variant 'wide'; [^{]*$",
        ),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(values, words):
    with pytest.raises(SettingError, match=words):
        check(**values)


def test_settings_depend_on_the_number_of_examples_unless_a_variant_sets_them():
    config = check(
        adapt={"steps": 5, "rows": 3},
        at_shots={"64": {"adapt": {"steps": 9}, "baselines": {"lora_rate": 0.5}}, "all": {}},
        variants={"fast": {"baselines": {"lora_rate": 0.7}}},
        compare={"methods": ["lora@fast"]},
    )
    assert config.at(16) == config.at("all") == config
    many = config.at(64)
    assert (many.adapt.steps, many.adapt.rows, many.baselines.lora_rate) == (9, 3, 0.5)
    fast = config.varied("fast").at(64)
    assert (fast.adapt.steps, fast.baselines.lora_rate) == (9, 0.7)
    assert check_config(config.model_dump(), source="x") == config


def test_settings_by_number_of_examples_are_kept_beside_those_of_a_given_metaprompt():
    """The metaprompt brings its rates; the steps are those given, also for 64 examples."""
    config = check(
        metaprompt="shipped", adapt={"steps": 5}, at_shots={"64": {"adapt": {"steps": 9}}}
    )
    found, brought = resolve_all(config)[config.backbone, ""], check(metaprompt="shipped")
    rate = resolve_all(brought)[config.backbone, ""].adapt.shared_rate
    assert [one.adapt.steps for one in (found, found.at(64))] == [5, 9]
    assert found.at(64).adapt.shared_rate == rate != check().adapt.shared_rate


def test_a_file_is_read_with_overrides_on_top(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('name = "x"\n[prompt]\nlength = 5\n')
    config = load_config(path, ["prompt.rank=3"])
    assert (config.prompt.length, config.prompt.rank) == (5, 3)


def test_a_file_without_a_name_is_refused(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("seed = 1")
    with pytest.raises(SettingError, match=r"name: is missing; add it$"):
        load_config(path)


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe", b"[a]\n[a]\n"])
def test_a_file_that_is_no_toml_is_refused(content, tmp_path):
    path = tmp_path / "c.toml"
    path.write_bytes(content)
    with pytest.raises(SettingError, match="not readable as TOML"):
        load_config(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(SettingError, match="no such config"):
        load_config(tmp_path / "c.toml")


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(SettingError, match=str(tmp_path)):
        load_config(tmp_path)


@pytest.mark.parametrize(
    "setting",
    [
        "compare.shots=[16, 16]",
        "compare.shots=[0]",
        "seed=-1",
        'compare.backbones=["a", "a"]',
        'compare.backbones=[""]',
    ],
)
def test_grids_that_repeat_or_mean_nothing_are_refused(setting):
    with pytest.raises(SettingError):
        check_config({"name": "x"}, source="x", overrides=[setting])


def test_a_name_stays_one_folder():
    with pytest.raises(SettingError, match="name"):
        check_config({"name": "../up"}, source="x")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_of_the_repository_names_a_suite_and_tasks_in_it(path):
    config = load_config(path)
    suite = find_suite(config.suite)
    assert set(config.data.target_tokens) <= {*suite.sources, *suite.targets}


def test_the_grid_has_the_runs_own_backbone_unless_it_names_others():
    assert check().backbones == ("smollm2-135m",)
    several = check('compare.backbones=["a", "b"]')
    assert (several.backbone, several.backbones) == ("a", ("a", "b"))


def test_the_papers_setting_is_three_backbones_under_one_prompt_length():
    config = load_config(CONFIGS[0].parent / "paper.toml")
    assert config.backbones == (
        "meta-llama/Llama-3.1-8B",
        "OpenMeditron/Meditron3-8B",
        "openai/gpt-oss-20b",
    )
    assert (config.suite, config.prompt.length, config.dtype) == ("paper", 100, "bfloat16")


def test_what_must_be_distilled_is_what_the_grid_needs_and_is_not_given():
    variants = {"wide": {"prompt": {"rank": 2}}, "ready": {"metaprompt": "shipped"}}

    def learning(*methods):
        config = check(compare={"methods": methods}, variants=variants)
        return variants_to_distill(on_backbone(resolve_all(config), config.backbone))

    assert learning("lora", "prompt-tuning@wide") == ()
    assert learning("adapted-factors@ready", "metaprompt@ready") == ()
    assert learning("spot", "metaprompt", "metaprompt@wide", "lora@ready") == ("", "wide")


def test_changes_may_be_given_as_values(tmp_path):
    values = {"name": "x", "adapt": {"rows": 3}}
    changes = {
        "adapt": {"steps": 7},
        "data.target_tokens": {"my-task": 9},
        "distill.cache_teachers": False,
        "prompt.text": "\N{GRINNING FACE}",
        "backbone": tmp_path,
    }
    config = check_config(values, source="x", overrides=changes)
    assert (config.adapt.rows, config.adapt.steps) == (3, 7)
    assert config.data.target_tokens == {"my-task": 9}
    assert config.distill.cache_teachers is False
    assert config.prompt.text == "\N{GRINNING FACE}"
    assert config.backbone == str(tmp_path)
    with pytest.raises(SettingError, match=r"adapt\.rows: must be a whole number \(given: None\)"):
        check_config(values, source="x", overrides={"adapt.rows": None})


def test_one_change_may_be_one_text():
    config = check_config({"name": "x"}, source="x", overrides="adapt.steps=5")
    assert config.adapt.steps == 5


def test_an_error_on_a_method_names_the_file_of_the_settings():
    config = check_config({"name": "x"}, source="c.toml", overrides=["compare.methods=['lor']"])
    with pytest.raises(SettingError, match=r"^c\.toml: compare\.methods: 'lor' is no method"):
        check_methods(config, source="c.toml")
