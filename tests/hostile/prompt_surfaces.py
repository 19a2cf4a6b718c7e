"""Saved prompts that others give: manifests and tensors, with right ones of each kind."""

import json
import random
import shutil
import struct
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from mutations import mutate
from surfaces import Surface, written

from clinprompt.errors import ClinpromptError
from clinprompt.jobs.annotate import task_of
from clinprompt.jobs.export import made_up_record
from clinprompt.jobs.verify import provenance
from clinprompt.prompts.artifact import Artifact, Manifest, load_artifact, make_artifact
from clinprompt.prompts.store import Store, open_prompt
from clinprompt.settings.run import check_config
from clinprompt.tasks.card import find_card
from clinprompt.tasks.kinds import make_example

LENGTH, HIDDEN, RANK = 4, 8, 2
_SIZES = (0, 1, 255, 2**20, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1)
_ENTRIES = (
    *(b"F64", b"F16", b"BF16", b"F8_E4M3", b"I64", b"BOOL", b"C64", b"F4", b"U16", b"__metadata__"),
    *(b"[0, 0]", b"[-1, 9]", b"[9, 1]", b"[0, 99999999999]", b"[]", b"[4611686018427387904, 4]"),
)


def _manifest(kind: str, names: Sequence[str], **more: object) -> Manifest:
    settings = check_config({"name": "mine"}, source="test").model_dump(mode="json")
    return Manifest(
        **{
            **{"kind": kind, "name": "mine", "method": "adapted", "backbone": "tiny"},
            **{"fingerprint": "tensors:1", "length": LENGTH, "hidden_size": HIDDEN},
            **{"rank": 0 if kind == "prompt" else RANK, "settings": settings},
            "tasks": tuple(find_card(name).model_dump(mode="json") for name in names),
            "scores": {"f1": 0.5},
            "calibration": {"yes": -1.0},
            **more,
        }
    )


def _artifacts() -> tuple[Artifact, Artifact, Artifact]:
    """Return a metaprompt, factors of it, and a prompt."""
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(0))
    sources = ("practice-ner-drugs", "practice-nli-history")
    shared = {
        "shared": draw(LENGTH, HIDDEN),
        "u": draw(2, LENGTH, RANK),
        "v": draw(2, RANK, HIDDEN),
    }
    meta = make_artifact(_manifest("metaprompt", sources), shared)
    given = {"metaprompt": meta.manifest.content_hash}
    factors = make_artifact(
        _manifest("factors", sources[:1], **given),
        {"u": draw(LENGTH, RANK), "v": draw(RANK, HIDDEN)},
    )
    prompt = make_artifact(_manifest("prompt", sources[:1]), {"vectors": draw(LENGTH, HIDDEN)})
    return meta, factors, prompt


class _Saved:
    """A store on the disk, which inputs change one file of."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="hostile-store-"))
        meta, factors, prompt = _artifacts()
        store = Store(self.root)
        self.places = {
            "metaprompt": store.save(meta).relative_to(self.root),
            "factors": store.save(factors, "factors").relative_to(self.root),
            "prompt": store.save(prompt, "prompt").relative_to(self.root),
        }

    def content(self, kind: str, file: str) -> bytes:
        return (self.root / self.places[kind] / file).read_bytes()

    def reader(self, kind: str, file: str) -> Callable[[Path, bytes], object]:
        """Return how to read a saved prompt one of whose files is replaced by the input."""

        def read(folder: Path, content: bytes) -> object:
            for place in self.places.values():
                shutil.copytree(self.root / place, folder / place)
            written(folder, f"{self.places[kind]}/{file}", content)
            return _all_uses(folder, self.places["factors" if kind == "metaprompt" else kind])

        return read


def _all_uses(folder: Path, place: Path) -> list[object]:
    """Do all that is done with a saved prompt before a model is loaded."""
    store = Store(folder)
    found: list[object] = [store.names()]
    for use in (
        lambda: _fields(open_prompt(folder / place)[0].manifest, folder / place),
        lambda: [provenance(load_artifact(folder / name).manifest) for name in store.names()],
        lambda: [store.load(name).manifest.title for name in store.names()],
        lambda: store.made_as(str(place)),
    ):
        try:
            found.append(use())
        except ClinpromptError as error:
            found.append(error)
    return found


def _fields(manifest: Manifest, place: Path) -> object:
    card, data = task_of(place, manifest)
    example = make_example(card, made_up_record(card))
    return manifest.segments, manifest.input_form, data.max_input_tokens, example.pieces


def _tensors(draw: random.Random, right: Sequence[bytes], _: Sequence[bytes]) -> bytes:
    """Damage a safetensors file: any byte of its header, its length, its end, or an entry."""
    content = draw.choice(right)
    length = struct.unpack("<Q", content[:8])[0]
    header, rest = content[8 : 8 + length], content[8 + length :]
    match draw.randrange(6):
        case 0:
            return struct.pack("<Q", draw.choice(_SIZES)) + header + rest
        case 1:
            at = draw.randrange(8 + length)
            return content[:at] + bytes([content[at] ^ draw.randrange(1, 256)]) + content[at + 1 :]
        case 2:
            return content[: draw.randrange(len(content))]
        case 3:
            at = 8 + length + draw.randrange(len(rest))
            return content[:at] + draw.choice((b"\xff\xff\x7f\x7f", b"\x00\x00\xc0\x7f")) + rest[4:]
        case _:
            changed = mutate(draw, header, _ENTRIES)
            is_right = draw.random() < 0.8
            return struct.pack("<Q", len(changed) if is_right else length) + changed + rest


def every_header_byte(content: bytes) -> list[bytes]:
    """Return content with each byte of the header flipped, one at a time."""
    length = 8 + struct.unpack("<Q", content[:8])[0]
    return [content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :] for at in range(length)]


def prompt_surfaces() -> dict[str, Surface]:
    """Return how saved prompts are read."""
    saved = _Saved()
    words = (b"practice-ner-drugs", b'"type"', b"0" * 64, json.dumps("../" * 3).encode())
    return {
        **{
            f"manifest of {kind}": Surface(
                [saved.content(kind, "manifest.json")],
                saved.reader(kind, "manifest.json"),
                words,
                share=5,
            )
            for kind in saved.places
        },
        **{
            f"tensors of {kind}": Surface(
                [saved.content(kind, "prompt.safetensors")],
                saved.reader(kind, "prompt.safetensors"),
                _ENTRIES,
                share=4,
                make=_tensors,
            )
            for kind in saved.places
        },
    }
