import numpy as np
from made_up_cells import answered

from clinprompt.evaluation.report.plots import (
    few_shot_figure,
    most_shots,
    shots_in_common,
    type_figure,
)
from clinprompt.evaluation.statistics.summaries import summarize


def summaries_of(*cells):
    return summarize(cells, np.random.default_rng(0), num_draws=100)


def test_trained_methods_are_shown_at_the_most_shots_they_share():
    found = summaries_of(
        answered("instruction", [1], shots=0),
        answered("lora", [1]),
        answered("lora", [1], shots=64),
        answered("other", [1], shots=0),
        answered("other", [1]),
    )
    assert shots_in_common(found) == {"instruction": 0, "lora": 16, "other": 16}


def test_methods_without_shots_in_common_have_no_bars_by_type():
    found = summaries_of(answered("lora", [1], shots=4), answered("other", [1]))
    assert type_figure(found) is None


def test_no_two_of_twelve_methods_look_alike():
    found = summaries_of(*(answered(f"method {number}", [1, 0]) for number in range(12)))
    (panel,) = few_shot_figure(found).axes
    looks = {
        (bars[0].get_color(), bars[0].get_marker(), bars[0].get_linestyle())
        for bars in panel.containers
    }
    assert len(looks) == 12
    assert len({marker for _, marker, _ in looks}) == 12


def test_shots_on_some_targets_only_wait_until_they_are_on_all():
    cells = [
        answered(method, [1], target=target, shots=shots)
        for method in ("lora", "other")
        for target, shots in (("a", 16), ("b", 16), ("a", 64))
    ]
    found = summaries_of(*cells)
    assert shots_in_common(found) == {"lora": 16, "other": 16}
    assert most_shots(found, "lora") == 16
    whole = summaries_of(*cells, answered("lora", [1], target="b", shots=64))
    assert most_shots(whole, "lora") == 64
