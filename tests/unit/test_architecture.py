"""docs/architecture.md must tell the truth about the tree."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_ENTRY = re.compile(r"^( *)([\w.*-]+/?)(?:\s{2,}\S.*)?$")


def _documented() -> set[str]:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = text.split("<!-- tree -->")[1].split("```")[1].removeprefix("\n")
    folders: list[str] = []
    found = set()
    for line in block.splitlines():
        match = _ENTRY.match(line)
        assert match, f"not a line of the tree: {line!r}"
        depth, name = len(match[1]) // 2, match[2]
        path = "/".join([*folders[:depth], name.rstrip("/")])
        if name.endswith("/"):
            folders = [*folders[:depth], name.rstrip("/")]
        else:
            found.add(path)
    return found


def _actual() -> set[str]:
    source = ROOT / "src"
    modules = {str(path.relative_to(source)) for path in source.rglob("*.py")}
    return {path for path in modules if not path.endswith("__init__.py")}


def test_every_module_is_in_the_tree_and_every_entry_exists():
    assert {path for path in _documented() if path.endswith(".py")} == _actual()
