"""Find the most memory that a run on one backbone needs, and the micro-batch that fits a GPU."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from clinprompt.backbone.model_sizes import ModelSizes
from clinprompt.jobs.planning.memory import (
    Memory,
    adapter_memory,
    numbers_to_train,
    prompt_memory,
)
from clinprompt.methods.resolve import variants_to_distill, variants_with
from clinprompt.methods.table import method_of
from clinprompt.settings.groups import split_method
from clinprompt.settings.run import RunConfig

_LEAST_TOKENS = 64  # of a micro-batch that is worth trying
_PHASES = ("teacher", "distill", "adapt")


@dataclass(frozen=True, slots=True)
class RunMemory:
    """What the memory of a run depends on.

    ``configs`` are the settings on one backbone by variant, ``outline`` are the sizes of the
    backbone, and ``num_sources`` has the number of source tasks of each suite.
    """

    configs: Mapping[str, RunConfig]
    outline: ModelSizes
    num_sources: Mapping[str, int]

    def prompts(self, most_tokens: int | None = None) -> Memory | None:
        """Return the most memory that training prompts needs; None if the grid trains none.

        ``most_tokens`` replaces each larger ``micro_batch_tokens``.
        """
        on_sources = variants_with(
            self.configs[""], lambda one: one.on_sources is not None and one.reads_prompt
        )
        learn = {*variants_to_distill(self.configs), *on_sources}
        return _most(
            prompt_memory(
                _with_batches(own, most_tokens),
                self.outline,
                self.num_sources.get(own.suite, 0) if variant in learn else 0,
            )
            for variant, own in self._with_prompts()
        )

    def adapters(self, most_tokens: int | None = None) -> Memory | None:
        """Return the most memory that training adapters needs; None if the grid trains none."""
        names = self.configs[""].compare.methods
        return _most(
            adapter_memory(
                _with_batches(self.configs[split_method(name)[1]], most_tokens),
                self.outline,
                numbers_to_train(name, self.configs, self.outline),
                on_sources=method_of(name).on_sources is not None,
            )
            for name in names
            if method_of(name).trains == "adapters"
        )

    def fitting_tokens(self, num_bytes: float | None) -> int | None:
        """Return the largest ``micro_batch_tokens`` with which all training fits into memory.

        It is at most the largest of the settings, and halved until it fits; 0 if nothing fits, None
        without ``num_bytes``.
        """
        if num_bytes is None:
            return None
        tokens = max(
            getattr(own, phase).micro_batch_tokens
            for own in self.configs.values()
            for phase in _PHASES
        )
        while tokens >= _LEAST_TOKENS:
            needed = (self.prompts(tokens), self.adapters(tokens))
            if all(one.total <= num_bytes for one in needed if one):
                return int(tokens)
            tokens //= 2
        return 0

    def _with_prompts(self) -> Iterator[tuple[str, RunConfig]]:
        """Yield the variants ("" for none) of methods that read a prompt, with their settings."""
        grid = self.configs[""].compare
        for variant in variants_with(self.configs[""], lambda method: method.reads_prompt):
            yield variant, self.configs[variant].model_copy(update={"compare": grid})


def _with_batches(config: RunConfig, most_tokens: int | None) -> RunConfig:
    """Return settings in which no ``micro_batch_tokens`` is larger than ``most_tokens``."""
    if most_tokens is None:
        return config
    groups = {name: getattr(config, name) for name in _PHASES}
    return config.model_copy(
        update={
            name: own.model_copy(
                update={"micro_batch_tokens": min(own.micro_batch_tokens, most_tokens)}
            )
            for name, own in groups.items()
        }
    )


def _most(memories: Iterable[Memory]) -> Memory | None:
    """Return the largest: the parts of a run are computed one after another."""
    return max(memories, key=lambda memory: memory.total, default=None)
