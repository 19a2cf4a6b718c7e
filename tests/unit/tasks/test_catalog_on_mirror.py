"""Each card of the catalog reads the real files of a mirror, as many records as were counted."""

import os
from pathlib import Path

import pytest

from clinprompt.tasks.card import SPLITS, find_card, find_suite
from clinprompt.tasks.example import RelationsAnswer, SpansAnswer
from clinprompt.tasks.load import load_task
from clinprompt.tasks.overlap import drop_overlapping

ROOT = Path(__file__).parents[3]
MIRROR = Path(os.environ.get("CLINPROMPT_MIRROR") or ROOT.parent / "shared" / "data")

# train, validation, test; the second three count spans or relations
COUNTS = {
    "ner-ncbi-disease": ((5424, 923, 940), (5134, 787, 960)),
    "ner-psytar": ((3850, 550, 1191), (3535, 431, 1077)),
    "ner-reddit-drugs": ((1325, 152, 500), (959, 146, 362)),
    "ie-phee": ((2898, 961, 968), (4079, 1385, 1444)),
    "re-gad": ((4325, 471, 534), None),
    "re-crowdtruth-cause": ((3208, 400, 376), None),
    "qa-pubmedqa": ((404, 96, 500), None),
    "qa-medmcqa": ((2226, 284, 306), None),
    "qa-headqa-en": ((2657 - 68, 1366 - 30, 2742 - 67), None),
    "nli-mediqa-rqe": ((8588, 302, 230), None),
    "nli-mqp": ((2474, 266, 308), None),
    "nli-scinli": ((2000, 2000, 4000), None),
    "sum-meqsum": ((814, 105, 81), None),
    "sum-mediqa-ans": ((428, 48, 76), None),
    "sum-openi": ((2735, 341, 343), None),
}
# what the mirror's manifest counts before a resplit
TOTALS = {
    "ner-reddit-drugs": 1477 + 500,
    "re-gad": 4796 + 534,
    "re-crowdtruth-cause": 3984,
    "qa-pubmedqa": 1000,
    "qa-medmcqa": 2816,
    "nli-mqp": 3048,
    "sum-meqsum": 1000,
    "sum-mediqa-ans": 552,
}

pytestmark = pytest.mark.skipif(
    not MIRROR.is_dir(), reason=f"no mirror of the data sets at {MIRROR}; set CLINPROMPT_MIRROR"
)


def num_answers(record):
    match record.answer:
        case SpansAnswer(spans):
            return len(spans)
        case RelationsAnswer(relations):
            return len(relations)


@pytest.mark.parametrize("name", COUNTS)
def test_card_reads_as_many_records_as_were_counted(name):
    card = find_card(name)
    if not (MIRROR / card.data_folder).is_dir():
        pytest.skip(f"the mirror has no {card.data_folder}")
    data = load_task(card, MIRROR)
    rows, answers = COUNTS[name]
    assert tuple(len(data.splits[split]) for split in SPLITS) == rows
    assert sum(rows) == TOTALS.get(name, sum(rows))
    if answers:
        found = tuple(sum(map(num_answers, data.splits[split])) for split in SPLITS)
        assert found == answers


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
