"""Check the settings that name methods, before anything is loaded or trained."""

from collections.abc import Iterable, Iterator
from itertools import chain

from clinprompt.errors import SettingError, did_you_mean
from clinprompt.methods.method import Method
from clinprompt.methods.table import DEFAULT_METHODS, METHODS
from clinprompt.settings.groups import SearchSettings, split_method
from clinprompt.settings.run import RunConfig


def check_methods(config: RunConfig, *, source: str = "") -> RunConfig:
    """Check the methods in the settings; fill in the default methods if none are named.

    Of the default methods, those that change weights are left out if the weights are quantized.

    ``source`` names the settings in errors, for example by their file.

    Raises:
        SettingError: a method is unknown, or cannot be used with these settings.
    """
    try:
        return _checked(config)
    except SettingError as error:
        raise SettingError(f"{source}: {error}" if source else str(error)) from error


def _checked(config: RunConfig) -> RunConfig:
    if not config.compare.methods:
        usual = tuple(name for name in DEFAULT_METHODS if _may_train(METHODS[name], config))
        grid = config.compare.model_copy(update={"methods": usual})
        config = config.model_copy(update={"compare": grid})
    trials = config.search.trials if config.search else {}
    _check_names("compare.methods", map(_plain, config.compare.methods))
    _check_names("search.trials", trials)
    for place, steps in _method_steps(config):
        _check_names(place, steps)
        if idle := [name for name in steps if METHODS[name].trains == "nothing"]:
            raise SettingError(f"{place}: {idle[0]} trains nothing, so it takes no steps")
    for name in (*config.compare.methods, *trials):
        _check_method(config, *split_method(name))
    if config.search:
        for problem in _search_problems(config.search):
            raise SettingError(f"search.trials: {problem}")
    return config


def _plain(name: str) -> str:
    return split_method(name)[0]


def _method_steps(config: RunConfig) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield every place that sets steps of single methods, with their names."""
    changed = {
        "": config,
        **{f"at_shots.{shots}.": config.at(shots) for shots in config.at_shots},
        **{f"variants.{name}.": config.varied(name) for name in config.variants},
    }
    for place, own in changed.items():
        yield f"{place}adapt.method_steps", own.adapt.method_steps
    for method, trials in (config.search.trials if config.search else {}).items():
        for changes in trials:
            adapt = changes.get("adapt", {})
            yield f"search.trials.{method}: adapt.method_steps", adapt.get("method_steps", {})


def _check_names(place: str, names: Iterable[str]) -> None:
    for name in names:
        if name not in METHODS:
            plain = _plain(name)
            hint = f"write {plain}" if plain in METHODS else did_you_mean(plain, METHODS)
            raise SettingError(f"{place}: {name!r} is no method; {hint}")


def _may_train(method: Method, config: RunConfig) -> bool:
    """Return whether the weights are as a method needs them: it cannot change quantized ones."""
    return config.quantize == "none" or method.trains not in ("adapters", "weights")


def _check_method(config: RunConfig, name: str, variant: str) -> None:
    method, own = METHODS[name], config.varied(variant) if variant else config
    where = f" in variant {variant}" if variant else ""
    if method.required_dtype not in ("", own.dtype):
        raise SettingError(
            f"method {name} changes the weights themselves: set dtype = "
            f"{method.required_dtype!r}{where}, or give it a variant that does"
        )
    if not _may_train(method, own):
        raise SettingError(
            f"method {name} changes the weights of the backbone, which quantize = {own.quantize!r} "
            f"quantizes: set quantize = 'none'{where}, or leave {name} out"
        )
    if method.needs_teachers and own.metaprompt:
        raise SettingError(
            f"method {name} starts from prompts of single sources, and a metaprompt that is given "
            f"does not have them: leave {name} out, or set metaprompt = ''{where}"
        )
    if method.on_sources and own.metaprompt:
        raise SettingError(
            f"method {name} is trained on the sources of the suite, as the metaprompt of this run "
            f"would be, and a given metaprompt may have others: set metaprompt = ''{where}, and "
            "give the metaprompt to a variant of the methods that start from it"
        )


def _search_problems(search: SearchSettings) -> Iterator[str]:
    for name, trials in search.trials.items():
        method = METHODS[name]
        if method.trains == "nothing":
            yield f"method {name} trains nothing"
        if method.on_sources:
            yield f"method {name} is first trained on sources, and trials are not; leave it out"
        own = () if method.needs_metaprompt else ("prompt",)
        for lost in sorted({*chain(*trials)} - {"adapt", "baselines", "data", *own}):
            yield (
                f"{lost} has no effect on {name}, as trials are fitted on one backbone, from one "
                "metaprompt; try it as a variant of a comparison"
            )
