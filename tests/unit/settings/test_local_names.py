"""Local paths in settings become absolute once; results and manifests hold plain names only."""

from clinprompt.settings.local_names import (
    absolute_if_local,
    plain_name,
    with_absolute_paths,
    with_plain_names,
)


def test_only_an_existing_path_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("model", "smollm2-135m", "shipped"):
        (tmp_path / name).mkdir()
    assert absolute_if_local("model") == str(tmp_path / "model")
    for name in ("", "smollm2-135m", "shipped", "meta-llama/Llama-3.1-8B"):
        assert absolute_if_local(name) == name


def test_a_plain_name_does_not_depend_on_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "models" / "small").mkdir(parents=True)
    names = ("models/small", str(tmp_path / "models" / "small"), "org/model")
    elsewhere = [plain_name(name) for name in names]
    monkeypatch.chdir(tmp_path)
    assert [plain_name(name) for name in names] == elsewhere
    assert elsewhere == ["models/small", "small", "org/model"]


def test_paths_of_variants_and_of_the_grid_are_found_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "practice").mkdir()  # a suite is a name unless it ends in .toml
    values = {
        "suite": "practice",
        "backbone": "model",
        "compare": {"backbones": ["model", "org/model"], "shots": [4]},
        "variants": {"given": {"metaprompt": "model"}, "bad": 5},
    }
    found, path = with_absolute_paths(values), str(tmp_path / "model")
    assert found["suite"] == "practice"
    assert found["backbone"] == path
    assert found["compare"] == {"backbones": [path, "org/model"], "shots": [4]}
    assert found["variants"] == {"given": {"metaprompt": path}, "bad": 5}
    assert with_plain_names(found | {"variants": {"given": {"metaprompt": path}}}) == values | {
        "variants": {"given": {"metaprompt": "model"}}
    }
