"""A list that must name something is refused if it is written empty, wherever it is written."""

import pytest
from typer.testing import CliRunner

from clinprompt.cli import app
from clinprompt.errors import SettingError
from clinprompt.settings.run import check_config, load_config

CASES = [
    ("compare.methods", "names no method; name some, or leave the setting out for the usual ones"),
    ("compare.backbones", "names no backbone; name some, or leave the setting out for the run's"),
    ("compare.targets", "names no target; name some, or leave the setting out for all of the"),
    ("compare.seeds", "has too few entries; give at least 1"),
    ("baselines.lora_modules", "has too few entries; give at least 1"),
]


@pytest.mark.parametrize(("name", "words"), CASES)
@pytest.mark.parametrize("way", ["toml", "set", "mapping"])
def test_an_empty_list_is_refused_from_a_file_an_option_and_python(tmp_path, name, words, way):
    path = tmp_path / "grid.toml"
    section, key = name.split(".")
    path.write_text(f'name = "x"\n[{section}]\n' + (f"{key} = []\n" if way == "toml" else ""))
    changes = {"toml": (), "set": [f"{name}=[]"], "mapping": {name: []}}[way]
    with pytest.raises(SettingError) as caught:
        load_config(path, changes)
    assert name in str(caught.value)
    assert words in str(caught.value)
    assert way != "toml" or str(caught.value).startswith(f"{path}: ")


def test_a_setting_that_is_left_out_or_restored_has_its_default(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text('name = "x"\n[compare]\n')
    config = load_config(path)
    assert config.compare.methods == ()
    saved = config.model_dump(mode="json")
    assert check_config(saved, source="saved", overrides=["seed=2"]).compare.methods == ()


@pytest.mark.parametrize("name", ["compare.shots", "compare.ablations"])
def test_a_list_that_may_be_empty_is_taken(name):
    """Without shots, only methods that need no examples are compared."""
    section, key = name.split(".")
    config = check_config({"name": "x"}, source="s", overrides=[f"{name}=[]"])
    assert getattr(getattr(config, section), key) == ()


def test_the_command_compare_names_the_override(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text('name = "x"\n')
    arguments = [
        "compare",
        str(path),
        "--out",
        str(tmp_path / "run"),
        "--set",
        "compare.methods=[]",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code != 0
    assert "compare.methods = [] names no method" in str(result.exception)
