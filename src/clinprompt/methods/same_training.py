"""Tell which parts of two runs are the same under their settings, so that they are made once."""

from collections.abc import Hashable

from clinprompt.settings.groups import OF_ANSWERS
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.suite import find_suite

_OF_TEACHERS = {"backbone", "dtype", "quantize", "device", "seed", "data", "prompt", "teacher"}
_OF_STUDENTS = {"rank", "segment"}  # settings of prompts that teachers do not have

_ON_SOURCES = _OF_TEACHERS - {"teacher"} | {"suite", "distill"}
_OF_ADAPTERS = ("lora_rank", "lora_modules")
_SOURCE_RATES = ("source_prompt_rate", "source_lora_rate")


def same_on_sources(one: RunConfig, other: RunConfig) -> bool:
    """Return whether two runs train every method on the source tasks alike."""
    first, second = (
        (
            config.model_dump(
                include=_ON_SOURCES,
                exclude={
                    "data": OF_ANSWERS,
                    "prompt": _OF_STUDENTS,
                    "distill": {"cache_teachers"},
                },
            ),
            [getattr(config.baselines, name) for name in (*_OF_ADAPTERS, *_SOURCE_RATES)],
        )
        for config in (one, other)
    )
    return first == second


def cleaned_alike(one: RunConfig, other: RunConfig) -> bool:
    """Return whether the suites of two runs remove the same rows of a source that both have.

    Rows that overlap with a target are removed, so this depends on the targets.
    """
    if one.suite == other.suite:
        return True
    first, second = (set(find_suite(config.suite).targets) for config in (one, other))
    return first == second


def same_teachers(one: RunConfig, other: RunConfig) -> bool:
    """Return whether two runs train the same prompt for each source that both have."""
    if not cleaned_alike(one, other):
        return False
    first, second = (
        config.model_dump(
            include=_OF_TEACHERS,
            exclude={"data": OF_ANSWERS, "prompt": _OF_STUDENTS, "teacher": {"together"}},
        )
        for config in (one, other)
    )
    return first == second


def same_metaprompt(one: RunConfig, other: RunConfig) -> bool:
    """Return whether two runs distill the same metaprompt, or are given the same one."""
    names = ("metaprompt", "suite", "distill", "prompt")
    are_equal = all(getattr(one, name) == getattr(other, name) for name in names)
    return are_equal and same_teachers(one, other)


def encoding_of(config: RunConfig) -> Hashable:
    """Return the settings that the rows of tasks depend on, besides the backbone."""
    return (config.data.model_dump_json(), config.seed, config.prompt.length)


def backbone_of(config: RunConfig) -> tuple[str, str, str, str]:
    """Return the settings that decide which backbone is loaded."""
    return config.backbone, config.dtype, config.quantize, config.device
