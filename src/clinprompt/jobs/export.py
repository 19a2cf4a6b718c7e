"""Export a saved prompt for PEFT, with a README whose code answers one synthetic example."""

from dataclasses import dataclass, replace
from pathlib import Path

from clinprompt.backbone.decode import distinct_choices
from clinprompt.backbone.load import load_end_ids, load_tokenizer
from clinprompt.backbone.stored import HUB_NAMES, locate
from clinprompt.batches.encode import Encoder, make_encoder
from clinprompt.errors import ArtifactError
from clinprompt.jobs.annotate import task_of
from clinprompt.prompts.artifact import Manifest
from clinprompt.prompts.belongs import check_backbone, quantize_of
from clinprompt.prompts.peft_export import export_peft
from clinprompt.prompts.store import open_prompt
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import fields_of, make_example
from clinprompt.tasks.records import Example, Record

_WITHOUT_LIMIT = 1 << 30  # the synthetic example is short and shown whole
_TEXT = "The patient has type 2 diabetes. She takes metformin 500 mg twice a day."
_PAIR = "The patient has << type 2 diabetes >>. She takes [[ metformin ]] 500 mg twice a day."
_FIELDS = {
    "question": "Which medicine does the patient take?",
    "second": "The patient takes metformin.",
    "statement": "The patient takes metformin.",
    "claim": "The patient takes metformin.",
    "mentions": "type 2 diabetes; metformin",
    "section": "Medication",
}
_OPTIONS = ("aspirin", "insulin", "metformin", "warfarin")
_HOW_TO_READ = {
    "spans": "one mention a line, `type: words of the text`, in order of appearance; `none`: none",
    "relations": "one link a line, `type: head | tail`, both words of the text; `none`: none",
    "label": "the word of one label",
    "choice": "the letter of one option",
    "text": "free text on one line",
}


@dataclass(frozen=True, slots=True)
class _Contents:
    """What the README shows."""

    manifest: Manifest
    card: TaskCard
    base: str
    folder: Path
    encoder: Encoder
    end_ids: tuple[int, ...]

    @property
    def example(self) -> Example:
        return make_example(self.card, made_up_record(self.card))


def export_prompt(path: Path, folder: Path, *, base: str = "", backbone: str = "") -> Path:
    """Write a saved prompt as a PEFT adapter with a README; return the folder of its backbone.

    ``base`` is the name of the model that adapter and README give; ``backbone`` is the folder of
    the prompt's backbone, if it was moved. Only its tokenizer is loaded. The README's code reads
    the model from the returned folder where that exists, so that it needs no network here.

    Raises:
        ArtifactError: the prompt is damaged, PEFT does not support it, its backbone has no name
            that others can find and ``base`` is empty, or the folder is something else.
        BackboneError: the backbone cannot be found.
    """
    artifact, vectors = open_prompt(path)
    manifest = artifact.manifest
    base = base or _public_name(manifest)
    contents = _contents(path, manifest, base, backbone or manifest.backbone)
    export_peft(folder, manifest, vectors, base=base, readme=_readme(contents))
    return contents.folder


def made_up_record(card: TaskCard) -> Record:
    """Return an invented record with every field that the card's wording names.

    Raises:
        DataError: the card's template is not valid.
    """
    is_pair = (card.type, card.answer) == ("re", "label")
    text = _PAIR if is_pair else _TEXT
    fields = {name: _FIELDS.get(name, text) for name in sorted(fields_of(card))}
    return Record("synthetic", fields, options=_OPTIONS if card.answer == "choice" else ())


def _public_name(manifest: Manifest) -> str:
    """Return the name of the backbone on the hub."""
    name = HUB_NAMES.get(manifest.backbone, manifest.backbone)
    if Path(name).is_absolute() or Path(name).exists() or name.count("/") != 1:
        raise ArtifactError(
            f"{manifest.title}: its backbone {name} is no name of a model on the hub, so others do "
            "not find it; name the model with --base, for example --base HuggingFaceTB/SmolLM2-360M"
        )
    return name


def _contents(path: Path, manifest: Manifest, base: str, backbone: str) -> _Contents:
    if (own := quantize_of(manifest.fingerprint)) != "none":
        raise ArtifactError(
            f"{manifest.title}: was trained with quantize = {own!r}, and what is exported runs on "
            "unquantized weights; train it with quantize = 'none'"
        )
    folder, fingerprint = locate(backbone)
    width = manifest.hidden_size
    check_backbone(manifest, name=backbone, fingerprint=fingerprint, hidden_size=width)
    card, data = task_of(path, manifest)
    encoder = make_encoder(load_tokenizer(backbone), data)
    ends = tuple(sorted(load_end_ids(backbone) | {encoder.end_id}))
    return _Contents(manifest, card, base, folder.absolute(), encoder, ends)


def _readme(shown: _Contents) -> str:
    manifest, card = shown.manifest, shown.card
    kind = "prefix of every layer" if manifest.placement == "layers" else "prompt"
    parts = (
        f"# {manifest.title}\n\nA PEFT adapter: a trained {kind} ({manifest.length} positions) for "
        f"the task `{card.name}`.\nIt was trained by clinprompt {manifest.code_version} on "
        f"`{shown.base}`, whose weights are frozen.\n{_weights(manifest)}",
        "Run this code in the folder of this file. It needs `pip install torch transformers "
        "peft`.\nThe example is synthetic. PEFT and transformers may warn, for instance that "
        "position ids are ignored;\nthat changes nothing here.",
        f"```python\n{_code(shown)}```",
        f"The answer is {_HOW_TO_READ[card.answer]}.\n{_rule(shown)}",
        "`LOCAL` is where the weights of the training were when this file was written. If that "
        "folder exists, the code\nneeds no network. Otherwise it loads the model by its name on "
        "the hub. To use a copy in another folder, put\nthat folder into `LOCAL`. "
        f"`hf download {shown.base} --local-dir FOLDER` makes one;\nwhere clinprompt is "
        "installed, `clinprompt prompts export` prints the folder of the weights of the training.\n"
        "If you pass this file on, you may want to remove your folder from `LOCAL`.",
        f"To answer another note, put it into `text` and keep the words around it. In training, "
        f"texts of more\nthan {shown.encoder.max_input_tokens} tokens were split or shortened.",
    )
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _weights(manifest: Manifest) -> str:
    if manifest.backbone in HUB_NAMES:
        form = "Q4_1 weights"
    elif manifest.fingerprint.startswith("gguf:"):
        form = "weights of a GGUF file"
    else:
        return ""
    return (
        f"\nIt was trained on dequantized {form}. On other weights, such as those on the hub, "
        "answers may\ndiffer."
    )


def _rule(shown: _Contents) -> str:
    if shown.example.choices:
        return "As in clinprompt, it is the one that the model finds most likely."
    if shown.card.answer in ("spans", "relations"):
        offset = shown.manifest.nothing_offset
        corrected = (
            f" It also\nlowers the logit of an answer that begins with `none` by {offset:.2f}, so "
            "it lists something more often."
        )
        return (
            "It is decoded greedily and without constraint, as by `clinprompt predict --free`. By "
            f"default, clinprompt\nallows only words of the text.{corrected if offset else ''}"
        )
    return "It is decoded greedily, as in clinprompt."


def _code(shown: _Contents) -> str:
    """Return a program that loads the adapter and prints the answer to the synthetic example."""
    example, encoder = shown.example, replace(shown.encoder, max_input_tokens=_WITHOUT_LIMIT)
    num_tokens = len(encoder.encode(example).input_ids)
    with_special = encoder.form.is_first and not encoder.chat
    lines = encoder.form.shown(example).input.splitlines(keepends=True)
    text = "\n".join(f"    {line!r}" for line in lines)
    return f"""\
import os

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

LOCAL = os.path.expanduser({_below_home(shown.folder)!r})
BASE = LOCAL if os.path.isdir(LOCAL) else {shown.base!r}
ADAPTER = "."

tokenizer = AutoTokenizer.from_pretrained(BASE)
model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
model = PeftModel.from_pretrained(model, ADAPTER).eval()

text = (
{text}
)
encoded = tokenizer(text, add_special_tokens={with_special}, return_tensors="pt")
ids = encoded["input_ids"]  # {num_tokens} tokens
{_choosing(shown) if example.choices else _writing(shown)}print(answer)
"""


def _below_home(folder: Path) -> str:
    """Return a folder's path, which begins with ``~`` if it is in the user's home."""
    home = Path.home()
    return str(Path("~") / folder.relative_to(home) if folder.is_relative_to(home) else folder)


def _writing(shown: _Contents) -> str:
    return f"""\
written = model.generate(
    input_ids=ids,
    attention_mask=torch.ones_like(ids),
    do_sample=False,
    repetition_penalty=1.0,
    max_new_tokens={shown.encoder.target_limit(shown.card.name)},
    eos_token_id={list(shown.end_ids)},
    pad_token_id={shown.encoder.end_id},
)
answer = tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True).strip(" ")
"""


def _choosing(shown: _Contents) -> str:
    encoder, choices = shown.encoder, shown.example.choices
    targets = [encoder.encode_target(choice) for choice in choices]
    ids = distinct_choices(targets, end_id=encoder.end_id)
    known = "\n".join(
        f"    {choice!r}: {list(own)}," for choice, own in zip(choices, ids, strict=True)
    )
    return f"""\
choices = {{  # the token ids of each answer
{known}
}}


@torch.no_grad()
def log_likelihood(choice):
    answer = torch.tensor([choices[choice]])
    whole = torch.cat([ids, answer], dim=1)
    logits = model(input_ids=whole, attention_mask=torch.ones_like(whole)).logits
    likely = logits[0, -answer.shape[1] - 1 : -1].log_softmax(dim=-1)
    return likely.gather(1, answer.T).sum().item()


answer = max(choices, key=log_likelihood)
"""
