"""The runs of a comparison are opened one by one, so that several processes may."""

from contextlib import contextmanager

from test_road import config_of

from clinprompt.recipes.runs import Runs
from clinprompt.recipes.suite import load_suite
from clinprompt.training.progress import Silent


class OneAtATime:
    """Claims that no block may hold twice: the end of the inner one would end both."""

    def __init__(self):
        self.held = set()

    @contextmanager
    def claim(self, name, *, wait=False):
        assert name not in self.held
        self.held.add(name)
        yield wait
        self.held.remove(name)


def test_a_variant_that_shares_teachers_opens_their_run_outside_its_own_claim(
    tmp_path, tiny_llama_folder
):
    variants = {"slow": {"adapt": {"factor_rate": 0.001}}}
    config = config_of(tmp_path, tiny_llama_folder, variants=variants)
    suite = load_suite(config.suite, config.data, None)

    def opened():
        return Runs(tmp_path / "run", config, suite, None, OneAtATime(), Silent())

    opened().run()
    runs = opened()
    varied = runs.run("", "slow")
    assert varied.taught_in is runs.run()
    assert runs.run().taught_in is None
