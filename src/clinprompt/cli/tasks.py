"""Commands about tasks: what there is, fetch it, look at it, make one, check it."""

from pathlib import Path
from typing import Annotated

import typer

from clinprompt.cli.screen import (
    DownloadBar,
    Json,
    Mirror,
    complaints,
    console,
    show_examples,
    show_rows,
)
from clinprompt.errors import DataError, SettingError


def list_(as_json: Json = False) -> None:
    """List the tasks that come with the package."""
    from clinprompt.tasks.card import catalog, find_card

    cards = [find_card(name) for name in catalog()]
    rows = [
        {
            "name": card.name,
            "type": card.type,
            "metric": card.metric,
            "use": "agreement" if card.source.access else card.source.license_allows,
            **({"license": card.source.license} if as_json else {}),
        }
        for card in cards
    ]
    show_rows(rows, as_json=as_json)


def show(
    task: Annotated[str, typer.Argument(help="Task name, or a folder with a card.toml.")],
    examples: Annotated[int, typer.Option(min=0, help="Rendered training examples.")] = 2,
    whole: Annotated[bool, typer.Option("--whole", help="Show long inputs whole.")] = False,
    mirror: Mirror = None,
) -> None:
    """Show a task's card and how its records are put into words."""
    from clinprompt.runs.suite_data import find_mirror
    from clinprompt.runs.task_rows import examples_of
    from clinprompt.tasks.card import find_card
    from clinprompt.tasks.kinds import instruction_of
    from clinprompt.tasks.load import load_task

    card = find_card(task)
    console.print(f"[bold]{card.name}[/bold]  {card.title}\n{card.type}, {card.metric}")
    console.print(f"source: {card.source.repository} ({card.source.license})", soft_wrap=True)
    instruction = f"instruction: {instruction_of(card)}"
    console.print(instruction, markup=False, highlight=False, soft_wrap=True)
    try:
        data = load_task(card, find_mirror(mirror))
    except SettingError as error:  # no mirror: the card is worth showing all the same
        console.print(str(error), style="yellow", markup=False, highlight=False, soft_wrap=True)
        return
    show_examples(examples_of(data, "train", limit=examples, seed=0), whole=whole)


def new(
    type_: Annotated[str, typer.Option("--type", help="ner, re, qa, nli or summarization.")],
    origin: Annotated[
        Path,
        typer.Option("--from", help="JSON Lines, CSV, TSV or CoNLL file, or folder; or brat's."),
    ],
    name: Annotated[str, typer.Option(help="The task's name; else --out's, else the data's.")] = "",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to make; else the name, or NAME-task where the data is NAME."),
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="Column of the text; twice for a pair of texts.")
    ] = None,
    label: Annotated[str, typer.Option(help="Column of the answer, whatever its kind.")] = "",
    question: Annotated[str, typer.Option(help="Column of the question.")] = "",
    options: Annotated[
        list[str] | None, typer.Option(help="Column of all options, or once for each option.")
    ] = None,
) -> None:
    """Make a task folder from your own data: a card to edit, and a copy of the data."""
    from clinprompt.tasks.draft.columns import NamedColumns
    from clinprompt.tasks.draft.draft_task import choose_folder, draft_task, task_type, write_task

    named = NamedColumns(tuple(text or ()), label, question, tuple(options or ()))
    folder = choose_folder(origin, out=out, name=name)
    draft = draft_task(task_type(type_), origin, name or folder.name, named)
    write_task(draft, folder)
    show_examples(draft.examples(3))
    console.rule()
    for line in (
        *draft.found,
        f"task: {folder} ({origin} stays as it is)",
        "Mend what is wrong in its card.toml.",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def check(
    tasks: Annotated[list[str] | None, typer.Argument(help="Task names or folders.")] = None,
    suite: Annotated[str, typer.Option(help="Check every task of a suite.")] = "",
    mirror: Mirror = None,
    as_json: Json = False,
) -> None:
    """Read whole tasks: checksums, counts, overlap, what survives as text, lengths."""
    from clinprompt.cli.check_tables import show_check
    from clinprompt.jobs.check import check_tasks

    _say_missing(suite)
    checked = check_tasks(tasks or (), suite=suite, mirror=mirror)
    if as_json:
        show_rows(checked.rows, as_json=True)
    else:
        cards = [absent.card for absent in checked.absent.values()]
        show_check(checked.rows, [{"task": card.name, "type": card.type} for card in cards])
    if problems := checked.problems():
        head = [f"{len(problems)} things are wrong:"] if len(problems) > 1 else []
        raise DataError("\n".join([*head, *problems]))


def fetch(
    tasks: Annotated[list[str] | None, typer.Argument(help="Task names.")] = None,
    suite: Annotated[str, typer.Option(help="Fetch for every task of a suite.")] = "",
    accept_license: Annotated[
        list[str] | None,
        typer.Option(
            "--accept-license",
            "--accept-licence",
            help="Data set whose licence you accept, or all; for those that ask for it.",
        ),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Mirror folder to fill; else the cache, used by itself.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fetch data from its public repositories at pinned commits, and verify it."""
    from clinprompt.jobs.fetch import choose_cards, fetch_cards
    from clinprompt.tasks.fetch.task_files import choose_source

    _say_missing(suite)
    cards = choose_cards(tasks or (), suite)
    with DownloadBar(complaints) as bar:
        rows = fetch_cards(cards, choose_source(bar), folder=to, accepted=accept_license or ())
    show_rows(rows, as_json=as_json)


def _say_missing(suite: str) -> None:
    """Say what a suite lacks, beside what the command prints."""
    from clinprompt.tasks.suite import find_suite

    for lack in find_suite(suite).missing if suite else ():
        line = f"suite {suite}: {lack}"
        complaints.print(line, markup=False, highlight=False, soft_wrap=True)
