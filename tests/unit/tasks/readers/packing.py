"""Small archives and workbooks that are the same on every run, as bytes."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Mapping


def zipped(members: Mapping[str, str | bytes]) -> bytes:
    """Return a zip that is the same on every run."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def tarred(members: Mapping[str, bytes]) -> bytes:
    """Return a tar that is the same on every run."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def gzipped(content: bytes) -> bytes:
    """Return a gzip that is the same on every run."""
    return gzip.compress(content, mtime=0)


def workbook(*rows: tuple[str | int, ...]) -> bytes:
    """Return a workbook of one sheet, "one", as small as openpyxl reads it."""
    texts = [str(cell) for row in rows for cell in row if isinstance(cell, str)]
    cells = (
        "".join(
            f'<c r="{"ABC"[column]}{number}" t="s"><v>{texts.index(cell)}</v></c>'
            if isinstance(cell, str)
            else f'<c r="{"ABC"[column]}{number}"><v>{cell}</v></c>'
            for column, cell in enumerate(row)
        )
        for number, row in enumerate(rows, start=1)
    )
    lines = "".join(f'<row r="{n}">{row}</row>' for n, row in enumerate(cells, start=1))
    shared = "".join(f"<si><t>{text}</t></si>" for text in texts)
    older = "http://schemas.openxmlformats.org/"
    main = f'xmlns="{older}spreadsheetml/2006/main"'
    names = {"officeDocument": "xl/workbook.xml"}
    inner = {"worksheet": "worksheets/sheet1.xml", "sharedStrings": "sharedStrings.xml"}
    kinds = {"xl/workbook.xml": "sheet.main", "xl/worksheets/sheet1.xml": "worksheet"}
    kinds["xl/sharedStrings.xml"] = "sharedStrings"

    def relations(targets: Mapping[str, str]) -> str:
        listed = "".join(
            f'<Relationship Id="rId{n}" Type="{older}officeDocument/2006/relationships/{kind}" '
            f'Target="{target}"/>'
            for n, (kind, target) in enumerate(targets.items(), start=1)
        )
        held = f"{older}package/2006/relationships"
        return f'<Relationships xmlns="{held}">{listed}</Relationships>'

    types = "".join(
        f'<Override PartName="/{name}" '
        f'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.{kind}+xml"/>'
        for name, kind in kinds.items()
    )
    sheets = '<sheet name="one" sheetId="1" r:id="rId1"/>'
    spaces = f'{main} xmlns:r="{older}officeDocument/2006/relationships"'
    return zipped(
        {
            "[Content_Types].xml": f'<Types xmlns="{older}package/2006/content-types">{types}'
            "</Types>",
            "_rels/.rels": relations(names),
            "xl/workbook.xml": f"<workbook {spaces}><sheets>{sheets}</sheets></workbook>",
            "xl/_rels/workbook.xml.rels": relations(inner),
            "xl/worksheets/sheet1.xml": f"<worksheet {main}><sheetData>{lines}</sheetData>"
            "</worksheet>",
            "xl/sharedStrings.xml": f'<sst {main} uniqueCount="{len(texts)}">{shared}</sst>',
        }
    )
