"""A comparison of no methods is refused; no line means the usual ones."""

import pytest

from clinprompt.errors import SettingError
from clinprompt.settings.run import load_config


def test_an_empty_list_of_methods_is_refused(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text('name = "x"\n[compare]\nmethods = []\n')
    with pytest.raises(SettingError, match=r"grid.toml: compare.methods = \[\] names no method"):
        load_config(path)
    path.write_text('name = "x"\n[compare]\n')
    assert load_config(path).compare.methods == ()
