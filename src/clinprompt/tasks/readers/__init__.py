"""One reader a format: from a file to records. Knows nothing of cards, wording or models."""

from typing import Annotated

from pydantic import Field

from clinprompt.tasks.readers.bioasq import BioasqReader
from clinprompt.tasks.readers.brat import BratReader
from clinprompt.tasks.readers.conll import ConllReader
from clinprompt.tasks.readers.ddi import DdiReader
from clinprompt.tasks.readers.emrqa import EmrqaReader
from clinprompt.tasks.readers.excel import ExcelReader
from clinprompt.tasks.readers.files import DataFile
from clinprompt.tasks.readers.headqa import HeadqaReader
from clinprompt.tasks.readers.i2b2 import I2b2Reader
from clinprompt.tasks.readers.i2b2_2009 import I2b22009Reader
from clinprompt.tasks.readers.i2b2_2012 import I2b22012Reader
from clinprompt.tasks.readers.jsonl import JsonlReader
from clinprompt.tasks.readers.mediqa_ans import MediqaAnsReader
from clinprompt.tasks.readers.mediqa_mas import MediqaMasReader
from clinprompt.tasks.readers.mimic_reports import MimicReportsReader
from clinprompt.tasks.readers.nli4ct import Nli4ctReader
from clinprompt.tasks.readers.parallel import ParallelReader
from clinprompt.tasks.readers.phee import PheeReader
from clinprompt.tasks.readers.practice import PracticeReader
from clinprompt.tasks.readers.primock import PrimockReader
from clinprompt.tasks.readers.pubmedqa import PubmedqaReader
from clinprompt.tasks.readers.pubtator import PubtatorReader
from clinprompt.tasks.readers.squad import SquadReader
from clinprompt.tasks.readers.table import TableReader
from clinprompt.tasks.readers.uf_relations import UfRelationsReader
from clinprompt.tasks.readers.xml_pairs import XmlPairsReader

_FileReader = (
    BioasqReader
    | BratReader
    | ConllReader
    | DdiReader
    | EmrqaReader
    | ExcelReader
    | HeadqaReader
    | I2b22009Reader
    | I2b22012Reader
    | I2b2Reader
    | JsonlReader
    | MediqaAnsReader
    | MediqaMasReader
    | MimicReportsReader
    | Nli4ctReader
    | ParallelReader
    | PheeReader
    | PrimockReader
    | PubmedqaReader
    | PubtatorReader
    | SquadReader
    | TableReader
    | UfRelationsReader
    | XmlPairsReader
)
FileReader = Annotated[_FileReader, Field(discriminator="name")]
Reader = Annotated[_FileReader | PracticeReader, Field(discriminator="name")]

__all__ = ["DataFile", "FileReader", "PracticeReader", "Reader"]
