"""One reader a format: from a file to records. Knows nothing of cards, wording or models."""

from typing import Annotated

from pydantic import Field

from clinprompt.tasks.readers.conll import ConllReader
from clinprompt.tasks.readers.excel import ExcelReader
from clinprompt.tasks.readers.files import DataFile
from clinprompt.tasks.readers.headqa import HeadqaReader
from clinprompt.tasks.readers.jsonl import JsonlReader
from clinprompt.tasks.readers.mediqa_ans import MediqaAnsReader
from clinprompt.tasks.readers.phee import PheeReader
from clinprompt.tasks.readers.practice import PracticeReader
from clinprompt.tasks.readers.pubmedqa import PubmedqaReader
from clinprompt.tasks.readers.squad import SquadReader
from clinprompt.tasks.readers.table import TableReader
from clinprompt.tasks.readers.xml_pairs import XmlPairsReader

_FileReader = (
    ConllReader
    | ExcelReader
    | HeadqaReader
    | JsonlReader
    | MediqaAnsReader
    | PheeReader
    | PubmedqaReader
    | SquadReader
    | TableReader
    | XmlPairsReader
)
FileReader = Annotated[_FileReader, Field(discriminator="name")]
Reader = Annotated[_FileReader | PracticeReader, Field(discriminator="name")]

__all__ = ["DataFile", "FileReader", "PracticeReader", "Reader"]
