"""Check that a prompt belongs to a backbone, by what its manifest says. Knows no models."""

from collections.abc import Collection
from pathlib import Path

from clinprompt.errors import ArtifactError, option
from clinprompt.prompts.artifact import Manifest
from clinprompt.settings.groups import Quantize

_QUANTIZED: tuple[Quantize, ...] = ("8-bit", "4-bit")


def marked(fingerprint: str, quantize: Quantize) -> str:
    """Return the fingerprint of a stored checkpoint that was quantized while it was loaded."""
    return fingerprint if quantize == "none" else f"{fingerprint}:{quantize}"


def quantize_of(fingerprint: str) -> Quantize:
    """Return how a backbone with this fingerprint was quantized while it was loaded."""
    found: list[Quantize] = [one for one in _QUANTIZED if fingerprint.endswith(f":{one}")]
    return found[0] if found else "none"


def check_backbone(manifest: Manifest, *, name: str, fingerprint: str, hidden_size: int) -> None:
    """Check that a prompt was trained on the given backbone.

    Raises:
        ArtifactError: it was trained on another backbone.
    """
    if manifest.fingerprint == fingerprint:
        return
    _check_quantization(manifest, name=name, fingerprint=fingerprint)
    if manifest.hidden_size != hidden_size:
        raise ArtifactError(
            f"prompt {manifest.title} has hidden size {manifest.hidden_size} (backbone "
            f"{manifest.backbone}), but backbone {name} has {hidden_size}; load the backbone "
            "of the prompt"
        )
    is_same_name = Path(name).name == Path(manifest.backbone).name
    hint = f" (the name is the same, but {_changed(manifest, fingerprint)})" if is_same_name else ""
    raise ArtifactError(
        f"prompt {manifest.title} was trained on {manifest.backbone} "
        f"({manifest.fingerprint[:20]}…), not on {name} ({fingerprint[:20]}…){hint}; load the "
        f"prompt's backbone, or use {option('allow-backbone')} and expect different answers"
    )


def _check_quantization(manifest: Manifest, *, name: str, fingerprint: str) -> None:
    own, found = quantize_of(manifest.fingerprint), quantize_of(fingerprint)
    plain = (manifest.fingerprint.removesuffix(f":{own}"), fingerprint.removesuffix(f":{found}"))
    if plain[0] == plain[1] and own != found:
        raise ArtifactError(
            f"prompt {manifest.title} was trained on {manifest.backbone} with quantize = {own!r}, "
            f"not on {name} with quantize = {found!r}; load the backbone with quantize = {own!r}, "
            f"or use {option('allow-backbone')} and expect different answers"
        )


def _changed(manifest: Manifest, fingerprint: str) -> str:
    """Return what may differ between two backbones of one name: fingerprints start with a form."""
    if manifest.fingerprint.partition(":")[0] != fingerprint.partition(":")[0]:
        return "one is a GGUF file, whose weights are rounded, and the other is not"
    if fingerprint.startswith("gguf:"):
        return "it is another file: another quantization, version or tokenizer of the model"
    return "its weights, vocabulary, config or tokenizer are others"


def check_end(manifest: Manifest, *, name: str, end_ids: Collection[int]) -> None:
    """Check that a backbone ends answers with the tokens that it ended them with in training.

    Raises:
        ArtifactError: it ends them with others.
    """
    if manifest.end_ids and set(manifest.end_ids) != set(end_ids):
        raise ArtifactError(
            f"prompt {manifest.title} was trained on {manifest.backbone} with answers that end "
            f"with the tokens {_listed(manifest.end_ids)}, but {name} now ends them with "
            f"{_listed(end_ids)}; restore its generation_config.json and tokenizer, or use "
            f"{option('allow-backbone')} and expect different answers"
        )


def _listed(ids: Collection[int]) -> str:
    return ", ".join(map(str, sorted(ids))) or "none"
