"""One small made-up task for every reader: what its files hold when nothing is wrong with them.

In the texts, SECRET stands for a word of 16 letters, which offsets count.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from packing import workbook, zipped
from pydantic import TypeAdapter

from clinprompt.tasks.readers import FileReader

SECRET = "zebrafishpatient"  # stands for record text: no error may show it

_READER = TypeAdapter(FileReader)


@dataclass(frozen=True)
class Fixture:
    """A reader with the files that it reads; ``address`` is what a card would name.

    If ``lined``, errors in these files name a line, except errors with the words in ``whole``,
    which concern a file as a whole.
    """

    reader: FileReader
    files: Mapping[str, bytes]
    address: str
    lined: bool
    whole: tuple[str, ...]


def fixture(
    reader: Mapping[str, object],
    files: Mapping[str, str | bytes],
    *,
    address: str = "",
    lined: bool = True,
    whole: tuple[str, ...] = (),
) -> Fixture:
    held = {
        name: content.replace("SECRET", SECRET).encode() if isinstance(content, str) else content
        for name, content in files.items()
    }
    made = _READER.validate_python(reader)
    return Fixture(made, held, address or next(iter(held)), lined, whole)


def grid(*intervals: tuple[float, str]) -> str:
    parts = (
        f'intervals [{n}]:\n  xmin = {start}\n  xmax = {start + 1}\n  text = "{words}"\n'
        for n, (start, words) in enumerate(intervals, start=1)
    )
    return f"xmin = 0\nxmax = 9\nintervals: size = {len(intervals)}\n{''.join(parts)}"


_REPORT = f" FINAL REPORT\n HISTORY: {SECRET}.\n\n FINDINGS:\n Clear.\n\n IMPRESSION:\n 1. Well.\n"
_TRIAL = '{"Results": ["SECRET", "all well"], "Eligibility": ["adult"]}'
_RELATIONS = {"answer": "relations"}
_OTHER_WORDS = "mentions differ from the words"

_BIOASQ = """{"questions": [
{"id": "q1", "type": "yesno", "body": "Is it?", "exact_answer": "Yes",
 "snippets": [{"text": "SECRET"}, {"text": "And so."}]},
{"id": "q2", "type": "list", "body": "Which?", "exact_answer": [["a"]]}]}
"""
_BRAT = """T1\tDrug 5 12\tAspirin
T2\tDose 13 15;16 18\t81 mg
T3\tWho 22 38\tSECRET
E1\tDrug:T1 Dose:T2
R1\tFor Arg1:E1 Arg2:T3
A1\tDegree T3 high
#1\tNote T1\tsee
"""
_CONLL = "-DOCSTART- (1)\n\nSECRET NN B-Who\ntook VB O\n\nMadeupin NN B\nXR NN I\n"
_DDI = """<?xml version="1.0" encoding="UTF-8"?>
<document id="d0">
<sentence id="d0.s0" text="Madeupin raises SECRET, Fakerin.">
<entity id="d0.s0.e0" charOffset="0-7" type="drug" text="Madeupin"/>
<entity id="d0.s0.e1" charOffset="16-31" type="drug" text="SECRET"/>
<entity id="d0.s0.e2" charOffset="34-40;42-42" type="brand" text="Fakerin"/>
<pair id="d0.s0.p0" e1="d0.s0.e0" e2="d0.s0.e1" ddi="true" type="effect"/>
<pair id="d0.s0.p1" e1="d0.s0.e0" e2="d0.s0.e2" ddi="false"/>
</sentence>
</document>
"""
_DDI_PAIRS = {"answer": "pairs", "pairs": [["drug", "drug"], ["drug", "brand"]]}
_EMRQA = """{"data": [{"title": "medication", "paragraphs": [
{"note_id": "7", "context": ["Seen .", "SECRET 40 mg"], "qas": [
 {"question": ["Dose?", "?"], "answers": [
  {"text": "40", "evidence": ["SECRET 40 mg"], "answer_entity_type": "single"}]}]}]}]}
"""
_HEADQA = """{"exams": {"E": {"data": [
{"qid": 5, "qtext": "SECRET?", "ra": "1", "image": "",
 "answers": [{"aid": 2, "atext": "no"}, {"aid": 1, "atext": "yes"}]}]}}}
"""
_ENTRIES = (
    'm="lasix" 1:0 1:0||do="40 mg" 1:1 1:2||mo="nm"||f="daily...use" 1:4 1:4,2:0 2:0||e="start"\n'
)
_EVENTS = """<?xml version="1.0"?>
<Annotation>
<TEXT><![CDATA[
Admission 02/29
SECRET had cough & fever .
]]></TEXT>
<TAGS>
<EVENT id="E0" start="1" end="10" text="Admission" type="OCCURRENCE" />
<EVENT id="E1" start="38" end="43" text="cough" type="PROBLEM" />
<SECTIME id="S0" start="11" end="16" text="02/29" type="ADMISSION" />
<TLINK id="L0" fromID="E1" toID="Admission" type="OVERLAP" />
<TLINK id="L1" fromID="E0" toID="S0" type="BEFORE" />
</TAGS>
"""
_NO_EVENTS = (_OTHER_WORDS, "no <TEXT> element", "does not end in />")
_TIME_PAIRS = {"answer": "pairs", "pairs": [["from", "to"]]}
_QUESTIONS = """{"n": 1, "q": "SECRET", "right": "B", "choices": ["this", "that"], "g": 1}
{"n": 2, "q": "Why?", "right": "A", "choices": {"A": "x", "B": "y"}, "g": "g"}
{"n": 3, "q": "Who?", "right": "A", "choices": [{"key": "A", "value": "x"}], "g": 1.5}
"""
_CHOICES = {"fields": {"q": "q"}, "label": "right", "options": "choices", "id": "n", "group": "g"}
_MARKED = """{"text": "Took SECRET", "spans": [{"start": 5, "end": 21, "label": "Who"}]}
{"text": "Took it", "spans": [{"start": 5, "end": 7, "label": "What"}]}
{"text": "No more"}
"""
_SUMMARIES = """{"1_a": {"question": "Why?", "articles": "SECRET", "summary": "So."},
"1_b": {"question": "How?", "articles": {"x": ["SECRET", 3]}, "summary": "Thus."}}
"""
_STATEMENTS = """{"u1": {"Section_id": "Results", "Primary_id": "T1", "Secondary_id": "T2",
"Label": "Contradiction", "Statement": "SECRET"}}
"""
_PHEE = (
    '{"id": "7", "context": "Rash and fever, SECRET", "annotations": [{"events": ['
    '{"Effect": {"start": [[0, 9]], "text": [["Rash", "fever"]]}, '
    '"Treatment": {"Drug": {"start": [[16]], "text": [["SECRET"]]}}}]}]}\n'
)
_PUBMEDQA = """{"1": {"QUESTION": "Is it?", "CONTEXTS": ["So.", "SECRET"], "final_decision": "no"},
"2": {"QUESTION": "Is it?", "CONTEXTS": ["So."], "final_decision": "maybe"}}
"""
_PUBTATOR = """7|t|Rash after SECRET
7|a|Madeupin, then rash.
7\t0\t4\tRash\tDisease\tD1
7\t28\t36\tMadeupin\tChemical\tC1
7\t43\t47\trash\tDisease\tD1|D2
7\tCID\tC1\tD1

8|t|Rash
8|a|again.
8\t0\t4\tRash\tDisease\t-1
"""
_CONCEPT_PAIRS = {"answer": "pairs", "pairs": [["Chemical", "Disease"]]}
_SQUAD = """{"data": [{"paragraphs": [{"context": "At home, SECRET.", "qas": [
{"id": 1, "question": "Where?", "answers": [{"text": "home", "answer_start": 3}]},
{"id": 2, "question": "Why?", "answers": []}]}]}]}
"""
_TABLE = """note,right,options
"SECRET,
again",B,"['x', ""y's""]"
more,A,"{'A': 'x', 'B': 'y'}"
"""
_CELLS = {"fields": {"text": "note"}, "label": "right", "options": "options"}
_COLUMNS = {"fields": {"text": "0"}, "label": "1", "above": 0.5, "id": "2"}
_UF = (
    "1\t2\t3\t4\t5\t6\t7\t8\n"
    "adverse\tRash of [s1] SECRET [e1]\t[s2] Rash [e2] of it\tDrug\tADE\tT1\tT2\tn1\n"
)
_XML = """<?xml version="1.0"?>
<All>
<Set>
<Note>SECRET</Note>
<Pair id="1" score="3"><C>It <b>is</b>.</C></Pair>
<Pair id="2" score="1.5"><C>It is not.</C></Pair>
</Set>
</All>
"""
_SCORED = {"fields": {"note": "../Note", "claim": "C"}, "label": "@score", "above": 2, "id": "@id"}

_EXPORT = """[{"id": 3, "data": {"text": "SECRET took iron"}, "annotations": [{"result": [
{"id": "a", "from_name": "x", "type": "labels",
 "value": {"start": 0, "end": 16, "text": "SECRET", "labels": ["Who"]}},
{"id": "b", "from_name": "x", "type": "labels",
 "value": {"start": 22, "end": 26, "text": "iron", "labels": ["Drug"]}},
{"type": "relation", "from_id": "b", "to_id": "a", "direction": "right", "labels": ["of"]}]}]}]
"""
_MINIMAL_EXPORT = """[{"id": 3, "text": "SECRET", "mood": "good", "annotation_id": 1},
{"id": 4, "text": "iron", "mood": "bad", "annotation_id": 2,
 "label": [{"start": 0, "end": 4, "text": "iron", "labels": ["Drug"]}]}]
"""
FIXTURES: dict[str, Fixture] = {
    "bioasq": fixture({"name": "bioasq"}, {"a.json": _BIOASQ}, lined=False),
    "brat": fixture(
        {"name": "brat", "view": _RELATIONS, "values": ["Degree"], "group_before": "_"},
        {"in/a_1.ann": _BRAT, "in/a_1.txt": "Gave Aspirin 81\nmg to SECRET.\n"},
        address="in/*.ann",
    ),
    "conll": fixture(
        {"name": "conll", "separator": "blank", "bare_type": "Drug"}, {"a.txt": _CONLL}
    ),
    "ddi": fixture({"name": "ddi", "view": _DDI_PAIRS}, {"a.xml": _DDI}),
    "emrqa": fixture(
        {"name": "emrqa"}, {"a.json": _EMRQA}, address="a.json!medication", lined=False
    ),
    "excel": fixture(
        {"name": "excel", "row": {"fields": {"text": "Q"}, "label": "S", "above": 1}},
        {"a.xlsx": workbook(("Q", "S"), (SECRET, 1), ("other", 2))},
        lined=False,
    ),
    "headqa": fixture({"name": "headqa"}, {"a.json": _HEADQA}, lined=False),
    "i2b2": fixture(
        {"name": "i2b2", "view": _RELATIONS, "texts": "*.txt", "relations": "*.rel"},
        {
            "7.con": 'c="lasix 40" 1:0 1:1||t="treatment"\nc="chest pain" 1:3 2:0||t="problem"\n',
            "7.rel": 'c="chest pain" 1:3 2:0||r="TrAP"||c="lasix 40" 1:0 1:1\n',
            "7.txt": "Lasix 40 for chest\npain of SECRET .\nFine .\n",
        },
        whole=(_OTHER_WORDS,),
    ),
    "i2b2_2009": fixture(
        {"name": "i2b2_2009", "view": _RELATIONS, "texts": "notes/*"},
        {"7_gold.entries": _ENTRIES, "notes/7": "Lasix 40 mg for daily\nuse by SECRET .\n"},
        whole=(_OTHER_WORDS,),
    ),
    "i2b2_2012": fixture(
        {"name": "i2b2_2012", "view": {"answer": "entities"}}, {"1.xml": _EVENTS}, whole=_NO_EVENTS
    ),
    "i2b2_2012 links": fixture(
        {"name": "i2b2_2012", "links": True, "merged": {"BEFORE": "B"}, "view": _TIME_PAIRS},
        {"1.xml": _EVENTS},
        whole=_NO_EVENTS,
    ),
    "jsonl": fixture({"name": "jsonl", "row": _CHOICES}, {"a.jsonl": _QUESTIONS}),
    "jsonl spans": fixture(
        {"name": "jsonl", "spans": "spans", "row": {"fields": {"text": "text"}}},
        {"a.jsonl": _MARKED},
    ),
    "label_studio": fixture(
        {
            "name": "label_studio",
            "row": {"id": "id", "fields": {"text": "text"}},
            "view": {"answer": "relations"},
        },
        {"a.json": _EXPORT},
        lined=False,
    ),
    "label_studio choices": fixture(
        {"name": "label_studio", "row": {"fields": {"text": "text"}, "label": "mood"}},
        {"a.json": _MINIMAL_EXPORT},
        lined=False,
    ),
    "mediqa_ans": fixture({"name": "mediqa_ans"}, {"a.json": _SUMMARIES}, lined=False),
    "mediqa_mas": fixture(
        {"name": "mediqa_mas", "questions": "q.txt", "summaries": "s.txt"},
        {
            "a.xlsx": workbook(("Q", "A", "Words"), (7, "7_1", SECRET), (7, "7_2", "b")),
            "q.txt": "7||Why?\n",
            "s.txt": "7||Of SECRET.\n",
        },
        lined=False,
    ),
    "mimic_reports": fixture(
        {"name": "mimic_reports", "reports": "reports.zip"},
        {
            "a.csv": "study_id,subject_id,split\n5,1100,train\ns6,1100,train\n",
            "reports.zip": zipped({f"files/p11/p1100/s{number}.txt": _REPORT for number in (5, 6)}),
        },
        address="a.csv!train",
        whole=("no row has split 'train'", "reports.zip"),
    ),
    "nli4ct": fixture(
        {"name": "nli4ct"},
        {"a.json": _STATEMENTS, "CT json/T1.json": _TRIAL, "CT json/T2.json": _TRIAL},
        lined=False,
    ),
    "parallel": fixture(
        {"name": "parallel"}, {"a.source": "One SECRET\n\nTwo\n", "a.target": "1\n\n2\n"}
    ),
    "phee": fixture({"name": "phee"}, {"a.json": _PHEE}),
    "primock": fixture(
        {"name": "primock", "transcripts": "said"},
        {
            "a.json": '{"note": "Seen SECRET."}',
            "said/a_doctor.TextGrid": grid((0, ""), (2.5, "Hello <UNSURE>Mo</UNSURE>.")),
            "said/a_patient.TextGrid": grid((4, "SECRET"), (5, '""Hi""'), (6, "<UNIN/>")),
        },
        lined=False,
    ),
    "pubmedqa": fixture(
        {"name": "pubmedqa", "test_ids": "ids.json"},
        {"a.json": _PUBMEDQA, "ids.json": '{"2": "maybe"}'},
        address="a.json!train",
        lined=False,
    ),
    "pubtator": fixture({"name": "pubtator", "view": _RELATIONS}, {"a.txt": _PUBTATOR}),
    "pubtator pairs": fixture(
        {"name": "pubtator", "view": _CONCEPT_PAIRS, "exclude": "dev.txt"},
        {"a.txt": _PUBTATOR, "dev.txt": "8|t|Rash\n8|a|again.\n"},
        whole=("reader.exclude",),
    ),
    "squad": fixture({"name": "squad"}, {"a.json": _SQUAD}, lined=False),
    "table": fixture({"name": "table", "row": _CELLS}, {"a.csv": _TABLE}),
    "table without header": fixture(
        {"name": "table", "delimiter": "tab", "header": False, "quotes": False, "row": _COLUMNS},
        {"a.tsv": 'SECRET "so\t1.5\tn1\nother\t0.25\tn2\n'},
    ),
    "uf_relations": fixture({"name": "uf_relations"}, {"a.tsv": _UF}),
    "xml_pairs": fixture(
        {"name": "xml_pairs", "pair": "Pair", "row": _SCORED},
        {"a.xml": _XML},
        whole=("no element named 'Pair'",),
    ),
}
