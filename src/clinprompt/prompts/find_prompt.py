"""Check that a folder holds a saved prompt, without reading it. Imports nothing that is slow."""

from pathlib import Path

from clinprompt.errors import ArtifactError

MANIFEST = "manifest.json"
_PLACES = ("*", "*/*", "store/*/*")  # where stores, runs and comparisons have their prompts
_NUM_NAMED = 3


def check_is_prompt(folder: Path) -> None:
    """Check that a folder is one of a saved prompt.

    Raises:
        ArtifactError: it is not; the message names the prompts that are in it or in its store.
    """
    if (folder / MANIFEST).is_file():
        return
    if not folder.exists():
        raise ArtifactError(f"{folder}: no such folder, so it is not a saved prompt; correct it")
    paths = [path for place in _PLACES for path in sorted(folder.glob(f"{place}/{MANIFEST}"))]
    found = [str(path.parent) for path in paths if "metaprompts" not in path.parts]
    remedy = f"it has {' and '.join(found[:_NUM_NAMED])}; give one of these" if found else ""
    raise ArtifactError(
        f"{folder}: is not a saved prompt ({MANIFEST} is missing); {remedy or 'give its folder'}"
    )
