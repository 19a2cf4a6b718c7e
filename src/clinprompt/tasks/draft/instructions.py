"""Write the instruction of a drafted card in several ways. Knows no data and no TOML."""

_LABELS, _EITHER = "{{ labels }}", "{{ either }}"


def instructions_for(kind: str, num_labels: int) -> tuple[str, ...]:
    """Return the instruction for a kind of answer, then other ways to say it.

    ``kind`` is the answer of a card, or "qa" for free answers to questions. The words of labels are
    left to the templates of the card.
    """
    return _mentions(num_labels) if kind == "spans" else _OTHERS[kind]


def _mentions(num_labels: int) -> tuple[str, ...]:
    as_lines, in_form = (
        ("", "") if num_labels == 1 else (" as `type: mention`,", " as `type: mention`")
    )
    return (
        f"Write each mention of {_EITHER} on its own line,{as_lines}\n"
        "in order of appearance. Write none when there is none.",
        f"List every mention of {_EITHER} in the text, one a line{as_lines or ','}\n"
        "in the order of the text. If there is none, write none.",
        f"Copy each mention of {_EITHER} word for word to its own line{in_form}.\n"
        "Keep the order of the text. Without any mention, write none.",
    )


_OTHERS = {
    "relations": (
        "Write each link on its own line as `type: head | tail`,\n"
        f"where type is {_EITHER}. Write none when there is none.",
        "List every link of the text, one a line, in the form `type: head | tail`.\n"
        f"Type is {_EITHER}. If there is no link, write none.",
        f"Find all links of the types {_LABELS} in the text. For each, write a line\n"
        "`type: head | tail`. When nothing is linked, write none.",
    ),
    "label": (
        f"Read the text. Write only {_EITHER}.",
        f"Which of these fits the text: {_LABELS}? Write only that.",
        f"Read the text and decide: {_EITHER}? Write your decision, nothing else.",
    ),
    "choice": (
        "Answer the multiple-choice question. Write only the letter of the right option.",
        "Choose the right option of the multiple-choice question and write its letter, nothing "
        "else.",
        "Which option answers the question? Write only its letter.",
    ),
    "qa": (
        "Answer the question in a few words.",
        "Give a short answer to the question.",
        "Read the question and write its answer, as short as possible.",
    ),
    "text": (
        "Sum up the text in a few sentences.",
        "Write a summary of the text in a few sentences.",
        "In a few sentences, write what the text says.",
    ),
}
