"""Resolve the settings of a run once: one ``RunConfig`` for each backbone and variant."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from clinprompt.errors import SettingError
from clinprompt.methods.metaprompts import find_metaprompt
from clinprompt.methods.method import Method
from clinprompt.methods.table import method_of
from clinprompt.prompts.artifact import Artifact, of_other_version
from clinprompt.settings.groups import AdaptSettings, split_method
from clinprompt.settings.run import RunConfig

SHAPE = ("length", "rank", "segment", "placement")
_OF_METAPROMPT: Mapping[str, tuple[str, ...]] = {"prompt": SHAPE, "data": ("input_form",)}
Resolved = Mapping[tuple[str, str], RunConfig]  # by backbone and variant ("" for none)


def resolve(config: RunConfig, backbone: str = "", variant: str = "") -> RunConfig:
    """Return the settings of a variant on a backbone.

    A given metaprompt determines the shape of prompts, and the settings of adaptation that are not
    given.

    Raises:
        ArtifactError: the given metaprompt is missing, damaged, or of another backbone, or has
            settings of adaptation that this version does not know.
        SettingError: a setting contradicts the shape of the given metaprompt.
    """
    own = config.varied(variant) if variant else config
    own = own.model_copy(update={"backbone": backbone or config.backbone})
    if not own.metaprompt:
        return own
    metaprompt = find_metaprompt(own.metaprompt, own.backbone)
    fitting = with_shape(own, metaprompt)
    given = set(config.variants[variant].get("adapt", {})) if variant else set()
    given |= config.adapt.model_fields_set
    brought: dict[str, Any] = metaprompt.manifest.settings["adapt"]
    values = {**brought, **{name: getattr(own.adapt, name) for name in given}}
    try:
        adapted = AdaptSettings.model_validate(values)
    except ValidationError as error:
        raise of_other_version(metaprompt.manifest, error) from error
    fitting = fitting.model_copy(update={"adapt": adapted})
    groups: Mapping[str, Any] = config.variants[variant] if variant else {}
    for group, names in _OF_METAPROMPT.items():
        explicit = set(groups.get(group, ()))
        if config.metaprompt:  # otherwise the plain settings are those of a metaprompt to distill
            explicit |= getattr(config, group).model_fields_set
        _check_explicit(own, fitting, group, explicit.intersection(names))
    return fitting


def check_shape(config: RunConfig, metaprompt: Artifact) -> None:
    """Check that the settings ask for no other shape or input form than those of the metaprompt.

    Raises:
        SettingError: they do.
    """
    fitting = with_shape(config, metaprompt)
    for group, names in _OF_METAPROMPT.items():
        explicit = getattr(config, group).model_fields_set.intersection(names)
        _check_explicit(config, fitting, group, explicit)


def _check_explicit(own: RunConfig, fitting: RunConfig, group: str, names: Iterable[str]) -> None:
    for name in names:
        value, fits = getattr(getattr(own, group), name), getattr(getattr(fitting, group), name)
        if value != fits:
            raise SettingError(
                f"{group}.{name} = {value}, but the metaprompt {own.metaprompt} has {fits}; leave "
                "the setting out"
            )


def resolve_all(config: RunConfig) -> Resolved:
    """Return the settings of each backbone of the grid, with each variant and without.

    Raises:
        ArtifactError: a given metaprompt is missing, damaged, or of another backbone.
        SettingError: a setting contradicts the shape of a given metaprompt.
    """
    variants = dict.fromkeys(["", *(split_method(name)[1] for name in config.compare.methods)])
    return {
        (backbone, variant): resolve(config, backbone, variant)
        for backbone in config.backbones
        for variant in variants
    }


def on_backbone(settings: Resolved, backbone: str) -> dict[str, RunConfig]:
    """Return the settings on one backbone, by variant."""
    return {variant: own for (name, variant), own in settings.items() if name == backbone}


def with_shape(config: RunConfig, metaprompt: Artifact) -> RunConfig:
    """Return the settings with the metaprompt's length, rank, segment, placement, input form."""
    shape = {name: getattr(metaprompt.manifest, name) for name in SHAPE}
    form = {"input_form": metaprompt.manifest.input_form}
    return config.model_copy(
        update={
            "prompt": config.prompt.model_copy(update=shape),
            "data": config.data.model_copy(update=form),
        }
    )


def variants_with(config: RunConfig, fits: Callable[[Method], bool]) -> tuple[str, ...]:
    """Return the variants ("" for none) under which the grid has a method that ``fits``."""
    names = [name for name in config.compare.methods if fits(method_of(name))]
    return tuple(dict.fromkeys(split_method(name)[1] for name in names))


def variants_to_distill(configs: Mapping[str, RunConfig]) -> tuple[str, ...]:
    """Return the variants ("" for none) whose metaprompt the grid needs and must distill.

    ``configs`` are the settings on one backbone, by variant.
    """
    needed = variants_with(configs[""], lambda method: method.needs_metaprompt)
    return tuple(name for name in needed if not configs[name].metaprompt)


def suites_to_learn(configs: Mapping[str, RunConfig]) -> tuple[str, ...]:
    """Return the suites whose sources the grid learns from; ``configs`` are by variant."""
    trained = variants_with(configs[""], lambda method: method.on_sources is not None)
    variants = (*variants_to_distill(configs), *trained)
    return tuple(dict.fromkeys(configs[name].suite for name in variants))
