"""Print the results of a comparison or a search as tables."""

from pathlib import Path
from typing import TYPE_CHECKING

from clinprompt.cli.screen import print_table, say
from clinprompt.errors import number_of

if TYPE_CHECKING:
    from clinprompt.evaluation.report.score_tables import Table
    from clinprompt.jobs.comparison.compare import Outcome


def show_outcome(outcome: "Outcome", folder: Path) -> None:
    """Print the tables of a comparison, how much is computed, and where the report is."""
    for table in outcome.tables:
        show_scores(table)
    done = number_of(len(outcome.cells), "result")
    if outcome.num_missing:
        done += f", {outcome.num_missing} still missing"
    if outcome.cells:
        done += f"; report: {folder / 'report' / 'report.html'}"
    say(done)


def show_scores(table: "Table") -> None:
    """Print one table of scores with its title and note."""
    print_table(table.header, table.rows, title=table.title, note=table.note)
