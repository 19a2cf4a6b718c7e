"""Ways in which a file gets damaged, as strategies: each draws a damaged copy of some content."""

import io
import json
import re
import zipfile
from collections.abc import Iterator

from hypothesis import strategies as st
from lxml import etree
from packing import zipped

# What may stand where a word or value should: nothing, numbers that are none, other kinds.
ODD_WORDS = ("", "0", "-1", "²", "٣", "1.2.3", "9" * 9, "9" * 5000, "null", "nan", '"', "|", "\0")
ODD_VALUES = (None, True, [], {}, -1, 10**9, 1.5, float("nan"), "", "x", "\ud800", [None], [[]])
LATIN = ("na\xefve", "5 \xb5g", "37 \xb0C", "\xb2", "\xa0")


@st.composite
def cut(draw, content):
    return content[: draw(st.integers(0, max(0, len(content) - 1)))]


@st.composite
def lines_swapped(draw, content):
    lines = content.split(b"\n")
    first, second = draw(place(lines)), draw(place(lines))
    lines[first], lines[second] = lines[second], lines[first]
    return b"\n".join(lines)


@st.composite
def line_doubled(draw, content):
    lines = content.split(b"\n")
    at = draw(place(lines))
    return b"\n".join(lines[: at + 1] + lines[at:])


@st.composite
def line_lost(draw, content):
    lines = content.split(b"\n")
    at = draw(place(lines))
    return b"\n".join(lines[:at] + lines[at + 1 :])


@st.composite
def bytes_replaced(draw, content):
    """Put bytes 0xFF, that UTF-8 never has, in place of some."""
    size = draw(st.integers(1, 4))
    at = draw(place(content))
    return content[:at] + b"\xff" * size + content[at + size :]


@st.composite
def other_encoding(draw, content):
    """Put Latin-1 text into the file, or save all of it in another encoding."""
    at = draw(place(content))
    word = draw(st.sampled_from(LATIN))
    as_text = content.decode("utf-8", "replace")
    return draw(
        st.sampled_from(
            [
                content[:at] + word.encode("latin-1") + content[at:],
                as_text.encode("utf-16"),
                as_text.encode("utf-8-sig"),
            ]
        )
    )


@st.composite
def word_replaced(draw, content):
    """Put something odd in place of a word, number or sign."""
    words = list(re.finditer(rb"\w+|\W", content))
    word = words[draw(place(words))]
    odd = draw(st.sampled_from(ODD_WORDS)).encode()
    return content[: word.start()] + odd + content[word.end() :]


@st.composite
def value_replaced(draw, content):
    """Take away a key, element or attribute, or give it a value of another kind."""
    if content.startswith(b"PK"):
        return draw(_zip_value(content))
    if content.startswith(b"<"):
        return draw(_xml_value(content))
    try:
        json.loads(content)
    except ValueError:
        lines = content.splitlines()
        at = draw(place(lines))
        changed = draw(_json_value(lines[at])) if lines[at].startswith(b"{") else b""
        return b"\n".join([*lines[:at], changed, *lines[at + 1 :]])
    return draw(_json_value(content))


def place(held):
    return st.integers(0, max(0, len(held) - 1))


@st.composite
def _json_value(draw, content):
    value = json.loads(content)
    holder, key = draw(st.sampled_from(list(_places(value))))
    if draw(st.booleans()):
        del holder[key]
    else:
        holder[key] = draw(st.sampled_from(ODD_VALUES))
    return json.dumps(value).encode()


def _places(value: object) -> Iterator[tuple[object, object]]:
    """Yield each place in a value of JSON: what holds it, and its key there."""
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


@st.composite
def _xml_value(draw, content):
    root = etree.fromstring(content, etree.XMLParser(recover=True))
    elements = list(root.iter())
    element = elements[draw(place(elements))]
    names = sorted(element.attrib)
    how = draw(st.sampled_from(["lost", "text", *(["unset", "set"] if names else [])]))
    odd = draw(st.sampled_from([word for word in ODD_WORDS if "\0" not in word]))
    if how == "lost" and element.getparent() is not None:
        element.getparent().remove(element)
    elif how == "unset":
        del element.attrib[draw(st.sampled_from(names))]
    elif how == "set":
        element.set(draw(st.sampled_from(names)), odd)
    else:
        element.text = odd
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


@st.composite
def _zip_value(draw, content):
    """Damage a member of a zip, or take it away; the zip itself stays whole."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = draw(st.sampled_from(sorted(members)))
    if not members[name].startswith(b"<"):
        members[name] = draw(st.one_of(cut(members[name]), bytes_replaced(members[name])))
    elif draw(st.integers(0, 5)):
        members[name] = draw(_xml_value(members[name]))
    else:
        del members[name]
    return zipped(members)


DAMAGES = {
    "cut": cut,
    "lines swapped": lines_swapped,
    "line doubled": line_doubled,
    "line lost": line_lost,
    "bytes replaced": bytes_replaced,
    "other encoding": other_encoding,
    "word replaced": word_replaced,
    "value replaced": value_replaced,
}
