"""Write commands.md from the command line. Run: python docs/write_commands.py."""

import inspect
from collections.abc import Iterator
from pathlib import Path

import typer.main
from markdown_table import markdown_table
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from clinprompt.cli import app

_Command = TyperCommand | TyperGroup
_Parameter = TyperArgument | TyperOption

PAGE = Path(__file__).parent / "commands.md"
INTRO = """\
# Commands

This page is written by `python docs/write_commands.py` from the command line itself; `clinprompt
COMMAND --help` shows it, too. `clinprompt --version` prints the version."""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page_text(), encoding="utf-8")


def page_text() -> str:
    """Return the page: a list of all commands, then the arguments and options of each."""
    commands = list(_commands(typer.main.get_command(app), "clinprompt"))
    rows = [
        (f"[`{path}`](#{path.replace(' ', '-')})", _first_sentence(one)) for path, one in commands
    ]
    table = markdown_table(("command", "what it does"), rows)
    return "\n\n".join([INTRO, table, *(_section(path, one) for path, one in commands)]) + "\n"


def _commands(command: _Command, path: str) -> Iterator[tuple[str, _Command]]:
    """Yield every command that does something, with its full name."""
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, inner in command.commands.items():
        yield from _commands(inner, f"{path} {name}")


def _section(path: str, command: _Command) -> str:
    parts = [f"## {path}", _help_text(command)]
    shown = [one for one in command.params if one.name != "help" and not one.hidden]
    if shown:
        rows = [(_names(one), _default(one), _meaning(one)) for one in shown]
        parts.append(markdown_table(("argument or option", "default", "meaning"), rows))
    return "\n\n".join(parts)


def _help_text(command: _Command) -> str:
    return inspect.cleandoc(command.help or "").replace("\b\n", "").replace("\f", "")


def _first_sentence(command: _Command) -> str:
    paragraph = " ".join(_help_text(command).partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].rstrip(".") + "."


def _names(one: _Parameter) -> str:
    if isinstance(one, TyperArgument):
        return f"`{(one.metavar or one.name or '').upper()}{' ...' if one.nargs < 0 else ''}`"
    return ", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))


def _default(one: _Parameter) -> str:
    if one.required:
        return "must be given"
    value = one.default
    if callable(value) or value is None or value == "" or value is False or value == []:
        return ""
    return f"`{value}`"


def _meaning(one: _Parameter) -> str:
    words = one.help or ""
    limited = one if hasattr(one, "min") else getattr(one, "type", None)  # older typer: in its type
    limits = [
        f"{word} {number:g}"
        for word, name in (("at least", "min"), ("at most", "max"))
        if (number := getattr(limited, name, None)) is not None
    ]
    return f"{words} ({', '.join(limits)})" if limits else words


if __name__ == "__main__":
    main()
