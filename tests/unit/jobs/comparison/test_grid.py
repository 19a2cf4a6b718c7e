"""The cells of a grid, and what identifies them."""

from types import SimpleNamespace

from clinprompt.jobs.comparison.grid import blocks
from clinprompt.settings.groups import CompareSettings


def test_a_cells_identity_does_not_depend_on_the_path_of_its_backbone(tmp_path):
    target = SimpleNamespace(card=SimpleNamespace(name="t", type="ner"))
    grid = CompareSettings(methods=("lora",), shots=(4,))
    [block] = blocks(grid, str(tmp_path / "model"), [target])
    assert block[0].key == ("model", "t", "lora", 4, 0)
