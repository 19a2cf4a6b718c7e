"""All settings of a run: from TOML and ``section.key=value``, checked strictly, saved with it."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeGuard, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from clinprompt.errors import SettingError, did_you_mean
from clinprompt.settings.defaults import DEFAULT_BACKBONE
from clinprompt.settings.groups import (
    DEVICE_PATTERN,
    NAME_PATTERN,
    SHOTS_PATTERN,
    AdaptSettings,
    BaselineSettings,
    CompareSettings,
    DataSettings,
    DistillSettings,
    PromptSettings,
    Quantize,
    SearchSettings,
    SettingsOfRun,
    TeacherSettings,
    split_method,
)
from clinprompt.settings.local_names import plain_name, with_absolute_paths
from clinprompt.settings.plain_messages import plain_message
from clinprompt.settings.toml_text import parse_toml

Changes = Mapping[str, Any] | Sequence[str]


class RunConfig(SettingsOfRun):
    """All settings of a run: sources → teachers → metaprompt → targets → report.

    ``metaprompt`` is "" to distill one from the suite's sources, "shipped" for the one in the
    package, or the folder of a saved one. A variant is a named group of changed settings for the
    methods that name it: an ablation, or a baseline of another size. ``at_shots`` holds changed
    settings of ``adapt`` and ``baselines`` for a number of examples, such as more steps for more
    examples: ``[at_shots.64]``, ``[at_shots.all]``. Comparisons, searches and adaptations use
    them. If a variant or a trial of a search changes the same setting, its value is used.
    """

    name: str = Field(pattern=NAME_PATTERN, description="of the run and its folder")
    suite: str = Field(default="practice", description="name or TOML file of a list of tasks")
    backbone: str = Field(
        default=DEFAULT_BACKBONE, description="name, folder or GGUF file of the language model"
    )
    device: str = Field(
        default="auto",
        pattern=DEVICE_PATTERN,
        description="auto, cpu, mps, cuda, cuda:1 ...",
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of the backbone's weights"
    )
    quantize: Quantize = Field(
        default="none",
        description="8-bit or 4-bit: the weights of the backbone's linear layers; needs the extra "
        "quantize. A prompt belongs to the backbone with this quantization",
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description="compute layers again in the backward pass: less memory, about a third slower, "
        "the same result",
    )
    seed: int = Field(default=0, ge=0, description="fixes everything that is drawn")
    metaprompt: str = Field(default="", description='"" to distill one, "shipped", or a folder')
    data: DataSettings = DataSettings()
    prompt: PromptSettings = PromptSettings()
    teacher: TeacherSettings = TeacherSettings()
    distill: DistillSettings = DistillSettings()
    adapt: AdaptSettings = AdaptSettings()
    baselines: BaselineSettings = BaselineSettings()
    compare: CompareSettings = CompareSettings()
    variants: dict[Annotated[str, Field(pattern=NAME_PATTERN)], dict[str, Any]] = Field(
        default_factory=dict,
        description="changed settings by the name of the variant, for METHOD@VARIANT in "
        "compare.methods",
    )
    at_shots: dict[Annotated[str, Field(pattern=SHOTS_PATTERN)], dict[str, dict[str, Any]]] = Field(
        default_factory=dict,
        description="changed settings of adapt and baselines, by number of examples",
    )
    search: SearchSettings | None = None
    tensor_parallel: bool = Field(
        default=False,
        description="divide the backbone's weights over all processes that torchrun started",
    )

    @property
    def backbones(self) -> tuple[str, ...]:
        """Return the backbones of the grid: those of ``compare``, else the run's own."""
        return self.compare.backbones or (self.backbone,)

    @model_validator(mode="before")
    @classmethod
    def _runs_on_a_compared_backbone(cls, values: object) -> object:
        """Take the first of ``compare.backbones`` if no backbone is set."""
        if isinstance(values, dict) and "backbone" not in values:
            grid = values.get("compare")
            if isinstance(grid, dict) and isinstance(grid.get("backbones"), list):
                return values | {"backbone": grid["backbones"][0]} if grid["backbones"] else values
        return values

    @model_validator(mode="after")
    def _compares_its_backbone(self) -> Self:
        if self.backbone not in self.backbones:
            raise ValueError(
                f"compare.backbones: lacks the run's own backbone, {self.backbone!r}; add it, or "
                "set backbone to one of them"
            )
        names = [plain_name(name) for name in self.backbones]
        if same := [name for name in names if names.count(name) > 1]:
            raise ValueError(
                f"compare.backbones: two folders are named {same[0]!r}, and results would not tell "
                "them apart; rename one"
            )
        return self

    @model_validator(mode="after")
    def _knows_its_variants(self) -> Self:
        used = {split_method(name)[1] for name in self.compare.methods} - {""}
        if unknown := sorted(used - set(self.variants)):
            hint = did_you_mean(unknown[0], self.variants)
            raise ValueError(f"compare.methods: no variant {unknown[0]!r}; {hint}")
        if unknown := sorted(set(self.compare.ablations) - used):
            hint = did_you_mean(unknown[0], used)
            raise ValueError(f"compare.ablations: no method has variant {unknown[0]!r}; {hint}")
        for name, values in self.variants.items():
            if kept := sorted(_FIXED & set(values)):
                hint = "; name others in compare.backbones" if kept[0] == "backbone" else ""
                raise ValueError(f"variants.{name}: {kept[0]} is the same in all variants{hint}")
            self.varied(name)
        for method, trials in (self.search.trials if self.search else {}).items():
            for number, changes in enumerate(trials, start=1):
                self.changed(changes, source=f"search.trials.{method}, trial {number}")
        return self

    @model_validator(mode="after")
    def _changes_only_fits_by_shots(self) -> Self:
        for shots, values in self.at_shots.items():
            names = [f"{group}.{key}" for group, own in values.items() for key in own]
            if others := [name for name in names if not _is_of_fits(name)]:
                raise ValueError(
                    f"at_shots.{shots}: {others[0]} is the same for any number of examples; only "
                    "steps, rows, rates and the choice of the best state in adapt and baselines "
                    "may change"
                )
            self.at(shots)
        return self

    def at(self, shots: int | str) -> "RunConfig":
        """Return the settings for a number of examples, or "all".

        Raises:
            SettingError: a setting for that number is unknown or out of range.
        """
        changes = self.at_shots.get(str(shots))
        if not changes:
            return self
        plain = {name: getattr(self, name).model_dump() for name in _OF_FITS}
        checked = check_config(
            {"name": self.name, **_merged(plain, changes)}, source=f"at_shots.{shots}"
        )
        return self.model_copy(update={name: getattr(checked, name) for name in _OF_FITS})

    def varied(self, variant: str) -> "RunConfig":
        """Return the settings of a variant, without grid, variants and search.

        Raises:
            SettingError: a setting of it is unknown or out of range.
        """
        return self.changed(self.variants[variant], source=f"variants.{variant}")

    def changed(self, changes: dict[str, Any], *, source: str) -> "RunConfig":
        """Return these settings, without grid, variants and search, with changes on top.

        ``at_shots`` loses what is changed.

        Raises:
            SettingError: a change is unknown or out of range.
        """
        values = self.model_dump(exclude={"compare", "variants", "search"})
        values["at_shots"] = {shots: _without(own, changes) for shots, own in self.at_shots.items()}
        return check_config(_merged(values, changes), source=source)


_FIXED = {"name", "backbone", "device", "compare", "variants", "search", "tensor_parallel"}
_FIXED |= {"gradient_checkpointing", "at_shots"}
# Groups whose settings may depend on the number of examples, and those in them that may not:
# they decide on memory, on what is trained, or on training on sources.
_OF_FITS = ("adapt", "baselines")
_NOT_BY_SHOTS = {
    "adapt.micro_batch_tokens",
    "adapt.routing",
    "baselines.lora_rank",
    "baselines.lora_modules",
    "baselines.source_prompt_rate",
    "baselines.source_lora_rate",
}


def _is_of_fits(name: str) -> bool:
    """Return whether a setting, group.key, may depend on the number of examples."""
    return name.partition(".")[0] in _OF_FITS and name not in _NOT_BY_SHOTS


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return the values with the changes applied, group by group."""
    both = dict(values)
    for key, change in changes.items():
        inner = both.get(key)
        if isinstance(change, dict) and isinstance(inner, dict):
            both[key] = _merged(inner, change)
        else:
            both[key] = change
    return both


def _without(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return groups of values without those that are changed; a wrong change is checked later."""
    lost = {group: own if isinstance(own, Mapping) else {} for group, own in changes.items()}
    return {
        group: {key: value for key, value in own.items() if key not in lost.get(group, {})}
        for group, own in values.items()
    }


def load_config(path: Path, overrides: Changes = ()) -> RunConfig:
    """Read a run's settings from TOML, with changes on top, as ``check_config`` takes them.

    Raises:
        SettingError: the file is missing or damaged, or a setting is unknown or out of range.
    """
    try:
        values = parse_toml(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise SettingError(f"{path}: no such config; the repository's are in configs/") from error
    except OSError as error:
        raise SettingError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path}: not readable as TOML: {error}") from error
    _check_lists(values, source=str(path))
    return check_config(values, source=str(path), overrides=overrides)


def check_config(values: dict[str, Any], *, source: str, overrides: Changes = ()) -> RunConfig:
    """Check plain values, with changes on top; ``source`` names them in errors.

    Changes are texts ``section.key=value``, or values by their names ``section.key``.

    A name that is an existing local path becomes absolute, so that the settings do not depend on
    the working directory from here on.

    Raises:
        SettingError: a setting is unknown or out of range.
    """
    if isinstance(overrides, Mapping):
        for key, value in overrides.items():
            change = _nested(str(key), value)
            _check_lists(change, source="settings")
            values = _merged(values, change)
    else:
        for override in [overrides] if isinstance(overrides, str) else overrides:
            change = {}
            _apply(change, override)
            _check_lists(change, source=f"override {override!r}")
            _apply(values, override)
    try:
        return RunConfig.model_validate(with_absolute_paths(values))
    except ValidationError as error:
        raise SettingError(f"{source}: {_first_problem(error)}") from error


_MEANT = {
    "methods": "the usual ones",
    "backbones": "the run's own",
    "targets": "all of the suite",
}


def _check_lists(written: Mapping[str, Any], *, source: str) -> None:
    """Check that no list is written empty of those where no list at all means a default.

    Saved settings have such empty lists, so only what a user writes is checked.

    Raises:
        SettingError: a list is empty.
    """
    grid = written.get("compare")
    lists = grid if isinstance(grid, Mapping) else {}
    for name, meant in _MEANT.items():
        if lists.get(name) in ([], ()):
            raise SettingError(
                f"{source}: compare.{name} = [] names no {name.removesuffix('s')}; name some, or "
                f"leave the setting out for {meant}"
            )


def _nested(key: str, value: object) -> dict[str, Any]:
    """Return a value below the sections of its name ``section.key``; a path becomes its text."""
    plain: Any = str(value) if isinstance(value, Path) else value
    for part in reversed(key.split(".")):
        plain = {part: plain}
    return dict(plain)


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    *sections, name = key.strip().split(".")
    if not equals or not name:
        raise SettingError(f"override {override!r}: write section.key=value")
    place = values
    for section in sections:
        place = place.setdefault(section, {})
        if not isinstance(place, dict):
            raise SettingError(f"override {override!r}: {section} is a value, not a section")
    try:
        place[name] = parse_toml(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        place[name] = text.strip()


def _is_group(annotation: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if not place:  # a check of several settings; its message names them
        return plain_message(first)
    if first["type"] != "extra_forbidden":
        given = "" if first["type"] == "missing" else f" (given: {first.get('input')!r})"
        return f"{place}: {plain_message(first)}{given}"
    group: type[BaseModel] = RunConfig
    for part in first["loc"][:-1]:
        annotation = group.model_fields[str(part)].annotation
        [group] = [one for one in (annotation, *get_args(annotation)) if _is_group(one)]
    name = str(first["loc"][-1])
    sections = [
        f"{section}.{name}"
        for section, field in RunConfig.model_fields.items()
        if _is_group(field.annotation) and name in field.annotation.model_fields
    ]
    hint = did_you_mean(name, group.model_fields)
    if group is RunConfig and sections:
        hint = f"did you mean {' or '.join(sections)}?"
    return f"{place}: unknown setting; {hint}"
