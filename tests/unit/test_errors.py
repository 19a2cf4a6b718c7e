"""Words that messages share."""

from clinprompt.errors import number_of


def test_one_thing_is_named_in_the_singular():
    assert [number_of(count, "task") for count in (0, 1, 2, 1000)] == [
        "0 tasks",
        "1 task",
        "2 tasks",
        "1,000 tasks",
    ]
    has = [number_of(count, "row has", "rows have") for count in (1, 2)]
    assert has == ["1 row has", "2 rows have"]
