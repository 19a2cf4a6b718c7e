import numpy as np
import pytest
from made_up_cells import answered

from clinprompt.evaluation.report.comparison_tables import (
    comparison_tables,
    difference_text,
    type_tables,
)
from clinprompt.evaluation.report.score_tables import score_tables
from clinprompt.evaluation.report.write_report import ReportContents, write_report
from clinprompt.evaluation.statistics.paired import Difference
from clinprompt.evaluation.statistics.summaries import summarize
from clinprompt.methods.table import REFERENCES

RIGHT, HALF, WRONG = [1] * 20, [1, 0] * 10, [0] * 20


def tables_of(*cells):
    summaries = summarize(cells, np.random.default_rng(0), num_draws=200)
    return {table.title: table for table in comparison_tables(summaries, REFERENCES)}


def test_differences_to_lora_and_to_prompt_tuning_are_shown():
    tables = tables_of(
        answered("prompt-tuning", WRONG), answered("lora", HALF), answered("metaprompt", RIGHT)
    )
    to_lora = tables["Difference to lora, 16-shot"]
    assert to_lora.header == ["target", "prompt-tuning", "metaprompt"]
    assert [row[0] for row in to_lora.rows] == ["headqa", "mean"]
    assert to_lora.rows[0][1].startswith("-0.50 [")
    assert to_lora.rows[0][2].startswith("+0.50 [")
    assert "hierarchical bootstrap" in to_lora.note
    assert "There is one draw" in to_lora.note
    to_prompts = tables["Difference to prompt-tuning, 16-shot"]
    assert to_prompts.rows[1][2] == "+1.00 [+1.00, +1.00]"


def test_a_difference_is_shown_with_its_interval():
    assert difference_text(Difference(0.05, 0.01, 0.09)) == "+0.05 [+0.01, +0.09]"
    assert difference_text(None) == "-"


def test_the_mean_of_each_seed_and_what_remains_without_two_targets_are_shown():
    gains = {"headqa": RIGHT, "ncbi": HALF, "sdoh": WRONG}
    cells = [
        answered(name, rows if name == "other" and (seed or target != "ncbi") else WRONG, **where)
        for target, rows in gains.items()
        for seed in (0, 1)
        for where in [{"target": target, "seed": seed}]
        for name in ("lora", "other")
    ]
    rows = tables_of(*cells)["Difference to lora, 16-shot"].rows
    # Seed 0: (1 + 0 + 0) / 3, seed 1: (1 + 0.5 + 0) / 3.
    assert rows[4] == ["mean, seed 0", "+0.33"]
    assert rows[5] == ["mean, seed 1", "+0.50"]
    assert rows[6] == [
        "mean without two targets",
        "+0.00 [+0.00, +0.00] (without headqa, ncbi)",
    ]


def test_two_forms_of_a_method_are_compared_directly():
    tables = tables_of(
        answered("metaprompt@one", HALF), answered("metaprompt@two", RIGHT), answered("x", WRONG)
    )
    table = tables["Difference to metaprompt@one, 16-shot"]
    assert table.header == ["target", "metaprompt@two"]
    assert table.rows[0][1].startswith("+0.50 [")


def test_a_comparison_that_is_left_out_is_named_below_its_table():
    tables = tables_of(
        answered("lora", WRONG),
        answered("late", RIGHT, seed=1),
        answered("other", RIGHT),
    )
    table = tables["Difference to lora, 16-shot"]
    assert table.rows[0][1] == "-"
    assert "late on headqa (different seeds)" in table.note


def test_ranks_stand_beside_wins_against_each_reference():
    tables = tables_of(answered("lora", WRONG), answered("other", RIGHT))
    table = tables["Ranks, 16-shot"]
    assert table.header == ["method", "mean rank", "against lora"]
    assert table.rows == [
        ["other", "1.00", "1-0-0 (1 higher, 0 lower)"],
        ["lora", "2.00", "-"],
    ]


def test_differences_to_variants_of_the_references_are_shown_too():
    tables = tables_of(
        answered("lora", HALF), answered("lora@wide", RIGHT), answered("other", WRONG)
    )
    assert tables["Difference to lora@wide, 16-shot"].header == ["target", "lora", "other"]
    assert tables["Ranks, 16-shot"].header[2:] == ["against lora", "against lora@wide"]


def test_a_method_with_other_seeds_is_neither_ranked_nor_counted():
    both = [
        answered(name, row, seed=seed)
        for name, row in (("lora", HALF), ("other", RIGHT))
        for seed in (0, 1)
    ]
    table = tables_of(*both, answered("late", WRONG))["Ranks, 16-shot"]
    assert [row[0] for row in table.rows] == ["other", "lora"]
    assert "Not ranked, because their seeds or test rows differ: late." in table.note


def test_ablations_have_a_table_of_their_own_and_other_variants_do_not():
    cells = [
        answered("lora", HALF),
        answered("lora@r16", HALF),
        answered("adapted-metaprompt", RIGHT),
        answered("adapted-metaprompt@no-distillation", WRONG, is_ablation=True),
    ]
    (scores,) = score_tables(cells, {})
    assert scores.header[3:] == [
        "lora, 16-shot",
        "lora@r16, 16-shot",
        "adapted-metaprompt, 16-shot",
    ]
    table = tables_of(*cells)["Ablations of adapted-metaprompt, 16-shot"]
    assert table.rows == [
        ["plain", "1.00 [0.90, 1.00]", "-"],
        ["no-distillation", "0.00 [0.00, 0.10]", "-1.00 [-1.00, -1.00]"],
    ]
    assert "hierarchical bootstrap" in table.note


def test_results_without_statistics_are_ranked_but_not_tested():
    kept = {"statistics": (), "row_digest": ""}
    tables = tables_of(answered("lora", WRONG, **kept), answered("other", RIGHT, **kept))
    assert set(tables) == {"Ranks, 16-shot"}
    assert "No differences" in tables["Ranks, 16-shot"].note


def test_types_are_means_over_their_targets():
    cells = [
        answered("lora", RIGHT),
        answered("lora", HALF, target="medbullets"),
        answered("lora", WRONG, target="ncbi", task_type="ner"),
    ]
    (table,) = type_tables(summarize(cells, np.random.default_rng(0)))
    assert [row[0] for row in table.rows] == ["qa (2)", "ner (1)"]
    assert table.rows[0][1].startswith("0.75 [")
    assert type_tables(summarize(cells[1:], np.random.default_rng(0))) == []


def test_each_backbone_has_its_own_tables():
    cells = [answered("lora", RIGHT, backbone="small"), answered("lora", HALF, backbone="large")]
    titles = [table.title for table in score_tables(cells, {})]
    assert titles == ["small: Scores, 16-shot", "large: Scores, 16-shot"]
    assert [table.title for table in score_tables(cells[:1], {})] == ["Scores, 16-shot"]


def test_a_target_with_fewer_rows_than_shots_is_named():
    cells = [answered("lora", RIGHT, num_examples=12), answered("lora", RIGHT, target="ncbi")]
    (table,) = score_tables(cells, {})
    assert "Fewer training rows than 16: headqa 12." in table.note
    (table,) = score_tables([answered("lora", RIGHT, shots="all", num_examples=1200)], {})
    assert "Training rows: headqa 1,200." in table.note


@pytest.mark.parametrize("backbones", [("small",), ("small", "large")])
def test_a_report_draws_each_backbone_once(tmp_path, backbones):
    cells = [
        answered(method, rows, backbone=backbone, trained_numbers=676, peak_bytes=2_500_000_000)
        for backbone in backbones
        for method, rows in (("lora", HALF), ("other", RIGHT))
    ]
    write_report(tmp_path, ReportContents("t", "s", cells, references=REFERENCES))
    assert len(list((tmp_path / "figures").iterdir())) == 3 * len(backbones)
    markdown = (tmp_path / "report.md").read_text()
    assert "Difference to lora, 16-shot" in markdown
    assert "2.5 GB" in markdown
