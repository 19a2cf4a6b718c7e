import re

import pytest

from clinprompt.errors import DataError
from clinprompt.evaluation.cells import Cell
from clinprompt.evaluation.report.score_tables import Baseline, score_tables
from clinprompt.evaluation.report.write_report import (
    ReportContents,
    TaskRow,
    toml_like,
    without_paths,
    write_report,
)


def cell(target, method, shots, value, **changes):
    values = {
        "target": target,
        "task_type": "qa",
        "method": method,
        "shots": shots,
        "seed": 0,
        "metric": "accuracy",
        "scorer": "accuracy",
        "value": value,
        "low": value - 0.1,
        "high": value + 0.1,
        "num_rows": 100,
        "detectable": 0.14,
    }
    return Cell(**{**values, **changes})


CELLS = (
    cell("medbullets", "instruction", 0, 0.25),
    cell("medbullets", "metaprompt", 16, 0.5, trained_numbers=676, artifact_bytes=2704),
    cell("headqa", "metaprompt", 16, 0.6, trained_numbers=676, artifact_bytes=2704),
    cell("headqa", "metaprompt", 16, 0.7, seed=1, trained_numbers=676, artifact_bytes=2704),
)
AT_16_SHOTS = [one.model_copy(update={"shots": 16}) for one in CELLS]
BASELINES = {"medbullets": Baseline(0.2, 0.3), "headqa": Baseline(0.25, 0.27)}


@pytest.fixture
def folder(tmp_path):
    contents = ReportContents(
        title="Trial <1>",
        suite="practice",
        cells=CELLS,
        baselines=BASELINES,
        settings={"seed": 0, "backbone": {"path": "/home/someone/models/small.gguf"}},
        dropped={"ncbi": 12},
        tasks=[TaskRow("medbullets", "qa", 500, 100, 100, "Apache-2.0", 3)],
        curves={"teachers/a": [(1, 2.0), (2, 1.5)], "teachers/b": [], "distill": [(1, 1.0)]},
        notes=["Saved under /scratch/node7/run."],
        command="clinprompt compare /home/someone/open.toml",
        environment={"torch": "2.13.0"},
    )
    write_report(tmp_path, contents)
    return tmp_path


def test_the_table_marks_scores_that_chance_or_majority_reaches():
    (table,) = score_tables(AT_16_SHOTS, BASELINES)
    rows = table.rows
    assert table.header == [
        "target",
        "chance",
        "majority",
        "instruction, 16-shot",
        "metaprompt, 16-shot",
    ]
    assert rows[0] == [
        "medbullets",
        "0.20",
        "0.30",
        "0.25 [0.15, 0.35] ≈",
        "0.50 [0.40, 0.60]",
    ]
    # headqa is the mean of two seeds, 0.6 and 0.7; the deviations of 0.05 give √(2·0.05²/1) = 0.07
    assert rows[1] == ["headqa", "0.25", "0.27", "-", "0.65 [0.55, 0.75] ± 0.07"]


def test_the_mean_row_says_which_means_miss_a_target():
    (table,) = score_tables(AT_16_SHOTS, BASELINES)
    # mean of 0.50 and 0.65; half width √(0.1² + 0.1²)/2 = 0.07; baselines (0.2 + 0.25)/2 ...
    assert table.rows[2][3:] == ["0.25 [0.15, 0.35] (1 of 2)", "0.57 [0.50, 0.65]"]


def test_markdown_and_html_have_the_same_content_and_figures_are_saved(folder):
    markdown, html = ((folder / f"report.{kind}").read_text() for kind in ("md", "html"))
    for text in ("0.50 [0.40, 0.60]", "≈", "676", "2.7 kB", "0.14", "Apache-2.0", "2.13.0"):
        assert text in markdown
        assert text in html
    names = {path.name for path in (folder / "figures").iterdir()}
    assert names == {"few_shot.png", "trained_numbers.png", "training.png", "types.png"}
    assert all(f"figures/{name}" in markdown for name in names)


def test_every_markdown_table_has_equally_many_cells_in_each_row(folder):
    markdown = (folder / "report.md").read_text()
    blocks = re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE)
    assert len(blocks) >= 7
    for block in blocks:
        lines = block.splitlines()
        assert len({line.count("|") for line in lines}) == 1
        assert set(lines[1]) <= set("|- ")


def test_the_html_holds_everything_and_escapes_names(folder):
    html = (folder / "report.html").read_text()
    assert "http" not in html
    assert re.findall(r'src="(?!data:)', html) == []
    assert "<link" not in html
    assert "<script" not in html
    assert "Trial &lt;1&gt;" in html


def test_no_absolute_path_gets_into_a_report(folder):
    for name in ("report.md", "report.html"):
        text = (folder / name).read_text()
        assert "someone" not in text
        assert "node7" not in text
        assert str(folder) not in text
        assert "…/open.toml" in text


def test_paths_are_cut_and_other_slashes_stay():
    assert without_paths("--out=/a/b/c.toml, n/a, https://x.org/y/z") == (
        "--out=…/c.toml, n/a, https://x.org/y/z"
    )


def test_settings_read_as_toml():
    assert toml_like({"seed": 1, "prompt": {"length": 100, "rates": {"shared": 0.01}}}) == (
        "seed = 1\n\n[prompt]\nlength = 100\n\n[prompt.rates]\nshared = 0.01"
    )


def test_the_same_contents_give_the_same_files(folder, tmp_path_factory):
    contents = ReportContents("t", "s", CELLS)
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    write_report(one, contents)
    write_report(two, contents)
    assert (one / "report.html").read_bytes() == (two / "report.html").read_bytes()


def test_one_zero_shot_result_is_enough_for_a_report(tmp_path):
    write_report(tmp_path, ReportContents("t", "s", (cell("headqa", "instruction", 0, 0.0),)))
    assert "0.00 [-0.10, 0.10]" in (tmp_path / "report.md").read_text()


def test_methods_that_each_miss_a_target_still_give_figures(tmp_path):
    cells = (cell("headqa", "a", 4, 0.1), cell("medbullets", "b", 16, 0.2, trained_numbers=9))
    write_report(tmp_path, ReportContents("t", "s", cells))
    assert (tmp_path / "figures" / "trained_numbers.png").stat().st_size > 1000


def test_a_report_without_results_is_refused(tmp_path):
    with pytest.raises(DataError, match="no results"):
        write_report(tmp_path, ReportContents("t", "s", ()))
