"""Each card of the catalog reads the real files of a mirror, as many records as were counted."""

import os
from pathlib import Path

import pytest

from clinprompt.tasks.audit.counts import counts_of, mismatches
from clinprompt.tasks.audit.overlap import drop_overlapping
from clinprompt.tasks.card import catalog, find_card, read_card
from clinprompt.tasks.card_parts import SPLITS
from clinprompt.tasks.load import load_task
from clinprompt.tasks.suite import find_suite

ROOT = Path(__file__).parents[3]
MIRROR = Path(os.environ.get("CLINPROMPT_MIRROR") or ROOT.parent / "shared" / "data")

OPEN = [
    name
    for name, path in catalog().items()
    if not name.startswith("practice-") and not read_card(path).source.access
]

pytestmark = pytest.mark.skipif(
    not MIRROR.is_dir(), reason=f"no mirror of the data sets at {MIRROR}; set CLINPROMPT_MIRROR"
)


@pytest.mark.parametrize("name", OPEN)
def test_card_reads_as_many_records_as_it_states(name):
    card = find_card(name)
    if not (MIRROR / card.data_folder).is_dir():
        pytest.skip(f"the mirror has no {card.data_folder}")
    data = load_task(card, MIRROR)
    assert {split for split in SPLITS if data.splits[split]} == set(card.counts)
    assert mismatches(card, counts_of(data)) == []


def test_every_task_of_the_open_suite_accounts_for_what_is_published():
    suite = find_suite("open34")
    for name in (*suite.sources, *suite.targets):
        assert find_card(name).published, name


def test_every_data_set_of_the_mirror_has_a_card_or_a_reason_in_the_docs():
    held = {path.name for path in MIRROR.iterdir() if path.is_dir()}
    page = (ROOT / "docs" / "catalog.md").read_text(encoding="utf-8")
    unread = held - {find_card(name).data_folder for name in catalog()}
    assert [name for name in unread if f"- `{name}`: " not in page] == []


def test_rows_of_the_same_first_question_stay_together():
    data = load_task(find_card("nli-mqp"), MIRROR)
    seen = [{record.fields["first"] for record in data.splits[split]} for split in SPLITS]
    assert len(set.union(*seen)) == sum(map(len, seen)) == 1524


def test_no_source_of_open_mini_overlaps_its_targets():
    suite = find_suite("open-mini")
    sources = [load_task(find_card(name), MIRROR) for name in suite.sources]
    targets = [load_task(find_card(name), MIRROR) for name in suite.targets]
    _, dropped = drop_overlapping(sources, targets)
    assert dropped == dict.fromkeys(suite.sources, 0)


def test_further_targets_share_hardly_any_text_with_each_other():
    targets = [load_task(find_card(name), MIRROR) for name in find_suite("more-targets").targets]
    for number, target in enumerate(targets):
        num_records = sum(map(len, target.splits.values()))
        _, dropped = drop_overlapping([target], targets[:number] or targets[1:])
        assert dropped[target.card.name] <= 0.01 * num_records, target.card.name
