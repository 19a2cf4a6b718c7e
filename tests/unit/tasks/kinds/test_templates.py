"""A card's template may show values, conditions and one loop over the options, and nothing else."""

import time

import pytest
from jinja2 import TemplateError
from made_cards import card_of, record_of

from clinprompt.errors import DataError
from clinprompt.jobs.export import made_up_record
from clinprompt.tasks.card import catalog, find_card
from clinprompt.tasks.kinds import fields_of, instruction_of, make_example
from clinprompt.tasks.kinds.templates import MAX_CHARACTERS, names_in, render

OPTIONS = [("A", "yes"), ("B", "no")]


def card(template="{{ text }}", instruction="Do it."):
    wording = {"version": 1, "template": template, "cut": [], "instruction": instruction}
    return card_of("qa", "choice", wording=wording)


ALLOWED = {
    "{{ text }}:": "A note:",
    "{{ text|upper }} {{ text[:1] }}": "A NOTE A",
    "{{ text|default('none') }}": "A note",
    "{% if section is defined %}{{ section }}{% else %}-{% endif %}": "-",
    "{{ 'a' if text else 'b' }}{# a remark #}": "a",
    "{% for letter, option in options %}{{ loop.index }}{{ letter }}{{ option }}"
    "{% if not loop.last %}; {% endif %}{% endfor %}": "1Ayes; 2Bno",
    "{{ options[0][1] ~ ' ' ~ options|length }}": "yes 2",
}


@pytest.mark.parametrize("template", ALLOWED)
def test_values_conditions_and_a_loop_over_options_are_filled_in(template):
    values = {"text": "A note", "options": OPTIONS}
    assert render(template, values) == ALLOWED[template]


HOSTILE = [
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% for i in text %}{{ text }}{% endfor %}",
    "{% for a in options %}{% for b in options %}{{ text }}{% endfor %}{% endfor %}",
    "{% for a in options recursive %}{{ loop(options) }}{% endfor %}",
    "{{ 'x' * 9999999999 }}",
    "{{ 9 ** 9 ** 9 }}",
    "{{ '%9999999999d' % 1 }}",
    "{{ text.__class__.__mro__ }}",
    "{{ text['__class__'] }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ '{0.__class__}'.format(text) }}",
    "{{ range }}",
    "{% include 'card.toml' %}",
    "{% macro a(n) %}{{ a(n) }}{{ a(n) }}{% endmacro %}{{ a(1) }}",
    "{% set x = text ~ text %}{% set x = x ~ x %}{{ x }}",
    "{{ lipsum(n=99999) }}",
    "{{ text|center(9999999999) }}",
    "{{ text|replace('', text) }}",
    "{{ 1 + text }}",
    "{{ text|nothing }}",
    "{{ text is nothing }}",
    "{% if text %}" * 200,
    "{{ " + "(" * 2000 + "text" + ")" * 2000 + " }}",
    "{{ " + "not " * 2000 + "text }}",
    "{{ text }}" * 101,
    "x" * (MAX_CHARACTERS + 1),
]


@pytest.mark.parametrize("template", HOSTILE, ids=lambda one: one[:40])
def test_what_loops_is_large_or_reaches_python_is_refused_at_once(template):
    values = {"text": "note " * 1000, "options": OPTIONS}
    begun = time.process_time()
    with pytest.raises(TemplateError):
        render(template, values)
    assert time.process_time() - begun < 1


@pytest.mark.parametrize("part", ["template", "instruction"])
@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ 1 + labels }}", r"own: wording\.PART: cannot be filled in \(TypeError\); correct it"),
        ("{{ labels.x }}", r"own: wording\.PART: the attribute 'x' is not allowed in line 1"),
        ("\n{% set a = 1 %}", r"own: wording\.PART: jinja's Assign is not allowed in line"),
    ],
)
def test_error_names_the_card_and_the_part_of_its_wording(part, template, says):
    mine = card(**{part: template})
    show = {
        "template": lambda: make_example(mine, record_of("1", "A note", options=("a", "b"))),
        "instruction": lambda: instruction_of(mine),
    }
    with pytest.raises(DataError, match=says.replace("PART", part)):
        show[part]()


def test_a_template_that_writes_far_more_than_its_values_is_refused():
    """It would write 50 * 90 * 500 = 2,250,000 characters; 100,000 + 10 * 550 are allowed."""
    template = "{% for a, b in options %}" + "{{ text }}" * 90 + "{% endfor %}"
    values = {"text": "x" * 500, "options": [("A", "b")] * 50}
    with pytest.raises(TemplateError, match="writes far more than the values"):
        render(template, values)


def test_a_text_that_is_no_field_is_shown_in_one_piece_if_nothing_may_be_cut():
    example = make_example(card("Note: {{ text }}"), record_of("1", "A note", options=("a", "b")))
    assert example.pieces == ("Note: A note",)


def test_names_are_those_that_a_template_shows():
    assert names_in("{{ a }}{% for b, c in options %}{{ b }}{{ c }}{{ d }}{% endfor %}") == {
        *("a", "d", "options")
    }
    assert fields_of(card("{{ text }} {{ labels }} {{ either }} {{ options[0] }}")) == {"text"}
    with pytest.raises(DataError, match=r"own: wording\.template: .*unexpected '}'"):
        made_up_record(card("{{ text }"))


@pytest.mark.parametrize("name", catalog())
def test_each_card_of_the_catalog_uses_what_is_allowed(name):
    mine = find_card(name)
    for number in range(len(mine.wording.instructions)):
        assert instruction_of(mine, number)
    assert fields_of(mine) >= set(mine.wording.cut)
