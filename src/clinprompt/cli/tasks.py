"""Commands for tasks: list, show, make, check and download them."""

from pathlib import Path
from typing import Annotated

import typer

from clinprompt.cli.screen import (
    Json,
    Mirror,
    Task,
    complaints,
    console,
    download_bar,
    print_json,
    print_records,
    say,
    show_examples,
)
from clinprompt.errors import DataError, SettingError, number_of
from clinprompt.settings.defaults import SHOTS


def list_(as_json: Json = False) -> None:
    """List the tasks that come with the package."""
    from clinprompt.tasks.card import catalog, find_card

    cards = [find_card(name) for name in catalog()]
    records = [
        {
            "name": card.name,
            "type": card.type,
            "metric": card.metric,
            "use": "agreement" if card.source.access else card.source.license_allows,
            **({"license": card.source.license} if as_json else {}),
        }
        for card in cards
    ]
    print_records(records, as_json=as_json)


def show(
    task: Task,
    examples: Annotated[int, typer.Option(min=0, help="How many training examples to show.")] = 2,
    whole: Annotated[bool, typer.Option("--whole", help="Do not shorten long inputs.")] = False,
    mirror: Mirror = None,
) -> None:
    """Show the card of a task, and examples of its inputs and answers as text."""
    from clinprompt.runs.examples import examples_of
    from clinprompt.runs.suite_data import find_mirror
    from clinprompt.tasks.card import find_card
    from clinprompt.tasks.kinds import instruction_of
    from clinprompt.tasks.load import load_task

    card = find_card(task)
    console.print(f"[bold]{card.name}[/bold]  {card.title}\n{card.type}, {card.metric}")
    console.print(f"source: {card.source.repository} ({card.source.license})", soft_wrap=True)
    say(f"instruction (not read with the metaprompt in the package): {instruction_of(card)}")
    try:
        data = load_task(card, find_mirror(mirror))
    except SettingError as error:  # without a mirror there are no examples to show
        say(str(error), style="yellow")
        return
    show_examples(examples_of(data, "train", limit=examples, seed=0), whole=whole)


def new(
    type_: Annotated[
        str,
        typer.Option(
            "--type",
            help="Kind of task: ner (mentions), re (links), classification (a label for each "
            "text), nli (a label for each pair of texts), qa or summarization.",
        ),
    ],
    origin: Annotated[
        Path,
        typer.Option(
            "--from",
            help="The data: a JSON Lines, CSV, TSV or CoNLL file, an export of Label Studio, or a "
            "folder, also of brat files.",
        ),
    ],
    name: Annotated[
        str, typer.Option(help="Name of the task. By default that of --out, or of the data.")
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to make. By default the name, or NAME-task if the data is NAME."),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(help="Column of the text; give it twice for a pair of texts."),
    ] = None,
    label: Annotated[str, typer.Option(help="Column of the answer.")] = "",
    question: Annotated[str, typer.Option(help="Column of the question.")] = "",
    options: Annotated[
        list[str] | None,
        typer.Option(
            help="Column of all answer options; or repeat it, one column for each option."
        ),
    ] = None,
    test_share: Annotated[
        float | None,
        typer.Option(
            help="Share of the records to move to a test split, if no file is one. By default 0.1 "
            "to 0.4, by the number of records."
        ),
    ] = None,
) -> None:
    """Make a task folder from your own data: a card that you can edit, and a copy of the data."""
    from clinprompt.tasks.draft.columns import NamedColumns
    from clinprompt.tasks.draft.draft_task import choose_folder, draft_task, write_task

    named = NamedColumns(tuple(text or ()), label, question, tuple(options or ()))
    folder = choose_folder(origin, out=out, name=name)
    draft = draft_task(type_, origin, name or folder.name, named, test_share=test_share)
    write_task(draft, folder)
    show_examples(draft.examples)
    console.rule()
    for line in (*draft.found, f"task: {folder} ({origin} is not changed)"):
        say(line)
    say("Correct mistakes in its card.toml.")
    shots = min(SHOTS, len(draft.data.splits["train"]))
    say(f"train a prompt for it: clinprompt adapt {folder} --shots {shots}")


def check(
    tasks: Annotated[
        list[str] | None, typer.Argument(help="Names of tasks, or their folders.")
    ] = None,
    suite: Annotated[str, typer.Option(help="Check all tasks of a suite.")] = "",
    mirror: Mirror = None,
    as_json: Json = False,
) -> None:
    """Check tasks: checksums, counts, overlap, what is lost as text, and lengths in tokens."""
    from clinprompt.cli.check_tables import show_check
    from clinprompt.jobs.check import check_tasks

    _say_missing(suite)
    checked = check_tasks(tasks or (), suite=suite, mirror=mirror)
    if as_json:
        print_json(checked.rows)
    else:
        cards = [absent.card for absent in checked.absent.values()]
        show_check(checked.rows, [{"task": card.name, "type": card.type} for card in cards])
    if problems := checked.problems():
        start = "\n" if len(problems) > 1 else " "
        raise DataError(f"{number_of(len(problems), 'problem')}:{start}" + "\n".join(problems))
    if not as_json:
        has_remarks = any(row["notes"] for row in checked.rows)
        say(f"No problems found{', but read the remarks above' if has_remarks else ''}.")


def fetch(
    tasks: Annotated[list[str] | None, typer.Argument(help="Names of tasks.")] = None,
    suite: Annotated[str, typer.Option(help="Download the data of all tasks of a suite.")] = "",
    accept_license: Annotated[
        list[str] | None,
        typer.Option(
            "--accept-license",
            "--accept-licence",
            help="Data set whose license you accept, or 'all'. Repeatable.",
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(help="Folder to download into. By default a cache that every command reads."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Download data from public repositories at pinned commits, and verify it."""
    from clinprompt.jobs.fetch import choose_cards, fetch_cards
    from clinprompt.tasks.fetch.task_files import choose_source

    _say_missing(suite)
    cards = choose_cards(tasks or (), suite)
    with download_bar() as bar:
        rows = fetch_cards(cards, choose_source(bar), folder=to, accepted=accept_license or ())
    print_records(rows, as_json=as_json)


def _say_missing(suite: str) -> None:
    """Print what a suite does not contain to stderr."""
    from clinprompt.tasks.suite import find_suite

    for gap in find_suite(suite).missing if suite else ():
        say(f"suite {suite}: {gap}", screen=complaints)
