"""What runs share is decided by the settings that change it."""

import pytest

from clinprompt.methods.resolve import same_metaprompt, same_on_sources, same_teachers
from clinprompt.settings.run import check_config

PLAIN = check_config({"name": "x"}, source="x")


@pytest.mark.parametrize("same", [same_teachers, same_metaprompt, same_on_sources])
@pytest.mark.parametrize("change", [{"constrained": False}, {"calibration": "off"}])
def test_how_answers_are_read_trains_nothing_again(same, change):
    assert same(PLAIN.changed({"data": change}, source="x"), PLAIN)


@pytest.mark.parametrize("same", [same_teachers, same_metaprompt, same_on_sources])
@pytest.mark.parametrize("change", [{"input_form": 1}, {"max_input_tokens": 64}])
def test_what_models_read_trains_everything_again(same, change):
    assert not same(PLAIN.changed({"data": change}, source="x"), PLAIN)
