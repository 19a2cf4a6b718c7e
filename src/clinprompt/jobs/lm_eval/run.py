"""Run the command of lm-evaluation-harness with our model among its models."""

import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from clinprompt.errors import SettingError, how_to_install

_SHORT = {"-M": "--model", "-C": "--config"}


def run_lm_eval(words: Sequence[str]) -> None:
    """Run ``lm_eval`` with these words; our model and ``--device auto`` are the defaults.

    Raises:
        SettingError: lm_eval is not installed.
    """
    require_lm_eval()
    from lm_eval.__main__ import cli_evaluate  # noqa: PLC0415 - an extra

    from clinprompt.jobs.lm_eval.model import NAME, register  # noqa: PLC0415 - imports lm_eval

    register()
    sys.argv = ["lm_eval", "run", *words, *_defaults(words, {"--model": NAME, "--device": "auto"})]
    cli_evaluate()


def _defaults(words: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """Return the options that are not among the words; a file of options (--config) has all."""
    given = {_SHORT.get(option, option) for option in (word.partition("=")[0] for word in words)}
    if "--config" in given:
        return []
    return [word for name, value in values.items() if name not in given for word in (name, value)]


def require_lm_eval() -> None:
    """Check that lm_eval is installed.

    Raises:
        SettingError: it is not.
    """
    if find_spec("lm_eval") is None:
        raise SettingError(
            f"lm-evaluation-harness is the package lm_eval; {how_to_install('eval')}"
        )
