"""Compile and render the templates of cards, which others may have written. Knows no cards.

Only a part of jinja is allowed: values, conditions, some filters, and one loop over the options.
So a template cannot loop for long, use much memory, or reach anything of Python. What a template
writes is limited, too.
"""

from collections.abc import Mapping
from functools import cache

from jinja2 import StrictUndefined, Template, TemplateError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_CHARACTERS = 10_000  # of a template
_MAX_VALUES = 100  # that a template shows
_MAX_DEPTH = 30  # of expressions and blocks in each other
_MAX_GROWTH = 10  # characters written for each character of the values, beyond the first ones:
_FREE_CHARACTERS = 100_000
_FILTERS = frozenset(
    (
        *("capitalize", "count", "d", "default", "first", "last", "length", "lower", "string"),
        *("title", "trim", "upper"),
    )
)
_TESTS = frozenset(["defined", "none", "number", "string", "undefined"])
_OF_LOOP = frozenset(["first", "index", "index0", "last", "length", "revindex", "revindex0"])
_OPTIONS = "options"
_ALLOWED = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Tuple),
    *(nodes.List, nodes.For, nodes.If, nodes.CondExpr, nodes.Filter, nodes.Test, nodes.Compare),
    *(nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Getattr, nodes.Getitem, nodes.Slice),
    *(nodes.Concat, nodes.Add, nodes.Sub, nodes.Neg, nodes.Keyword),
)
# What jinja's parser, the compiler of Python and rendering raise in addition to TemplateError.
_UNUSABLE = (
    *(ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, SyntaxError),
    *(TypeError, ValueError),
)


def render(template: str, values: Mapping[str, object]) -> str:
    """Return a template with values.

    Raises:
        TemplateError: the template is damaged, uses what is not allowed, names another value, or
            writes too much.
    """
    compiled = _compiled(template)
    sizes = sum(len(one) for one in values.values() if isinstance(one, str | list))
    left = _FREE_CHARACTERS + _MAX_GROWTH * sizes
    parts = []
    try:
        for part in compiled.generate(values):
            left -= len(part)
            if left < 0:
                raise TemplateError("writes far more than the values that it shows; shorten it")
            parts.append(part)
    except _UNUSABLE as error:
        raise TemplateError(f"cannot be filled in ({type(error).__name__}); correct it") from error
    return "".join(parts)


def names_in(template: str) -> set[str]:
    """Return the names of the values that a template shows.

    Raises:
        TemplateError: the template is damaged or uses what is not allowed.
    """
    return meta.find_undeclared_variables(_checked(template))


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    environment.globals.clear()
    return environment


@cache
def _compiled(template: str) -> Template:
    _checked(template)
    try:
        return _environment().from_string(template)
    except _UNUSABLE as error:
        raise TemplateError("is nested too deeply; shorten it") from error


def _checked(template: str) -> nodes.Template:
    """Return a template as a tree, in which everything is allowed."""
    if len(template) > MAX_CHARACTERS:
        raise TemplateError(f"is longer than {MAX_CHARACTERS:,} characters; shorten it")
    try:
        tree = _environment().parse(template)
    except _UNUSABLE as error:
        raise TemplateError("is nested too deeply; shorten it") from error
    _check(tree, is_in_loop=False, depth=0)
    if sum(1 for _ in tree.find_all(nodes.Name)) > _MAX_VALUES:
        raise TemplateError(f"shows more than {_MAX_VALUES} values; shorten it")
    return tree


def _check(node: nodes.Node, *, is_in_loop: bool, depth: int) -> None:
    """Check a part of a template and all that is in it."""
    if not isinstance(node, _ALLOWED):
        raise TemplateError(
            f"jinja's {type(node).__name__} is not allowed in line {node.lineno}; use values, "
            f"conditions, a loop over {_OPTIONS} and the filters {', '.join(sorted(_FILTERS))}"
        )
    if depth > _MAX_DEPTH:
        raise TemplateError(f"is nested too deeply in line {node.lineno}; shorten it")
    if problem := _problem(node, is_in_loop):
        raise TemplateError(f"{problem} in line {node.lineno}; leave it out")
    inside = is_in_loop or isinstance(node, nodes.For)
    for child in node.iter_child_nodes():
        _check(child, is_in_loop=inside, depth=depth + 1)


def _problem(node: nodes.Node, is_in_loop: bool) -> str:
    """Return what is wrong with an allowed kind of node, "" if nothing."""
    match node:
        case nodes.For():
            is_over_options = isinstance(node.iter, nodes.Name) and node.iter.name == _OPTIONS
            if is_in_loop or node.recursive or not is_over_options:
                return f"a loop that is not over {_OPTIONS}, or is in another one,"
        case nodes.Filter() if node.name not in _FILTERS:
            return f"the filter {node.name!r} is not known or not allowed"
        case nodes.Test() if node.name not in _TESTS:
            return f"the test {node.name!r} is not known or not allowed"
        case nodes.Getattr():
            is_of_loop = isinstance(node.node, nodes.Name) and node.node.name == "loop"
            if not is_of_loop or node.attr not in _OF_LOOP:
                return f"the attribute {node.attr!r} is not allowed"
    return ""
