"""Read records from the elements of an XML file. Knows no elements by name."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal, cast

from lxml import etree
from pydantic import Field

from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.rows import RowShape
from clinprompt.tasks.records import Record, TextAnswer


class XmlPairsReader(Settings):
    """Read one record per element.

    If the file is in an archive, its pairs form one group unless ``row`` names one, and it may have
    no pairs. A pair whose answer is an empty text is skipped.
    """

    name: Literal["xml_pairs"]
    row: RowShape = Field(
        description="what attributes (`@name`) and paths become; a path may lead up: `../question` "
        "is a child of the element around the pair"
    )
    pair: str = Field(default="pair", description="name of the element")

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield one record per element. Entities that the file defines are refused.

        Raises:
            DataError: the file is not XML, has no such element, or an element has a value missing.
        """
        elements = parse_xml(file).findall(f".//{self.pair}")
        is_document = file.members is not None
        if not elements and not is_document:
            raise file.error(f"no element named {self.pair!r}; correct reader.pair")
        name = file.place.removesuffix(".gz").removesuffix(".xml")
        for number, element in enumerate(elements, start=1):
            with file.errors_at(line_of(element)):
                record = self.row.record(self._row(element), f"{name}:{number}")
            if record.answer != TextAnswer(""):
                yield replace(record, group=record.group or name) if is_document else record

    def _row(self, element: etree._Element) -> dict[str, object]:
        values: dict[str, object] = {
            "@" + str(name): element.get(str(name)) for name in element.attrib
        }
        for name in self.row.names():
            child = None if name.startswith("@") else element.find(name)
            if child is not None:
                values[name] = "".join(cast("Iterator[str]", child.itertext()))
        return values


def parse_xml(file: DataFile) -> etree._Element:
    """Return the root element of an XML file. Entities that the file defines are refused.

    Raises:
        DataError: the file is missing, is not XML, or defines entities.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(file.content(), parser)
    except etree.XMLSyntaxError as error:
        # the message of libxml2 is left out, as it may quote clinical text
        raise file.error("not well-formed XML; correct the line", error.lineno) from error
    for node in root.iter():
        if isinstance(node, etree._Entity):
            raise file.error(
                "entities that the file defines are not read; replace them by their text",
                line_of(node.getparent()),
            )
    return root


def line_of(element: etree._Element | None) -> int | None:
    """Return the line on which an element starts, if it is known."""
    # lxml-stubs gives sourceline no type
    return None if element is None else cast("int | None", element.sourceline)
