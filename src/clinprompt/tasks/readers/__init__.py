"""Read files into records, one reader per format. Knows nothing of cards, wording or models.

A reader is a class of settings with a ``name``, by which cards choose it, and a method ``read``
that yields the records of one file. To add one, write its file in generic/ or datasets/ and add the
class to ``_FileReader`` below.
"""

from typing import Annotated

from pydantic import Field

from clinprompt.tasks.readers.datasets.bioasq import BioasqReader
from clinprompt.tasks.readers.datasets.ddi import DdiReader
from clinprompt.tasks.readers.datasets.emrqa import EmrqaReader
from clinprompt.tasks.readers.datasets.headqa import HeadqaReader
from clinprompt.tasks.readers.datasets.i2b2_2009 import I2b22009Reader
from clinprompt.tasks.readers.datasets.i2b2_2010 import I2b2Reader
from clinprompt.tasks.readers.datasets.i2b2_2012 import I2b22012Reader
from clinprompt.tasks.readers.datasets.mediqa_ans import MediqaAnsReader
from clinprompt.tasks.readers.datasets.mediqa_mas import MediqaMasReader
from clinprompt.tasks.readers.datasets.mimic_reports import MimicReportsReader
from clinprompt.tasks.readers.datasets.nli4ct import Nli4ctReader
from clinprompt.tasks.readers.datasets.phee import PheeReader
from clinprompt.tasks.readers.datasets.practice_notes import PracticeReader
from clinprompt.tasks.readers.datasets.primock import PrimockReader
from clinprompt.tasks.readers.datasets.pubmedqa import PubmedqaReader
from clinprompt.tasks.readers.datasets.uf_relations import UfRelationsReader
from clinprompt.tasks.readers.generic.brat import BratReader
from clinprompt.tasks.readers.generic.conll import ConllReader
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.delimited import TableReader
from clinprompt.tasks.readers.generic.excel import ExcelReader
from clinprompt.tasks.readers.generic.jsonl import JsonlReader
from clinprompt.tasks.readers.generic.label_studio import LabelStudioReader
from clinprompt.tasks.readers.generic.parallel import ParallelReader
from clinprompt.tasks.readers.generic.pubtator import PubtatorReader
from clinprompt.tasks.readers.generic.squad import SquadReader
from clinprompt.tasks.readers.generic.xml_pairs import XmlPairsReader

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
    | LabelStudioReader
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
