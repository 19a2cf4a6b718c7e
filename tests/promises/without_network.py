"""Do what a hospital does, on a tiny model; run by a test in a namespace that has no network.

``python without_network.py FOLDER`` adapts a task, scores it, answers notes, checks the prompt and
serves it to a client on the same machine.
"""

import errno
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

os.environ["COLUMNS"] = "100"
sys.path.insert(0, str(Path(__file__).parents[1]))

from command_line import call
from made_metaprompt import save_metaprompt
from made_server import running
from tiny import save_tiny

from clinprompt.backbone import constraint
from clinprompt.backbone.load import load_backbone

_TASK = "practice-nli-social"
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def bring_up_loopback() -> None:
    """Let this machine reach itself, which a new namespace cannot."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        request = struct.pack("16sh22x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(one, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(one, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | _IFF_UP))


def check_no_route() -> None:
    """Check that no other machine can be reached: 192.0.2.1 is an address for documentation."""
    with socket.socket() as one:
        assert one.connect_ex(("192.0.2.1", 80)) == errno.ENETUNREACH


def run(folder: Path, *words: object) -> str:
    """Run a command, which must succeed; return what it printed."""
    ended = call(*words, folder=folder)
    assert ended.exit_code == 0, (words, ended.stderr)
    return ended.stdout


def main() -> None:
    """Do all of it, and print a line for each."""
    folder = Path(sys.argv[1])
    check_no_route()
    bring_up_loopback()
    model = save_tiny(folder / "model", "llama")
    save_metaprompt(folder / "metaprompt", model)
    on = ("--backbone", model, "--device", "cpu")
    store = folder / "run" / "store"
    run(
        folder,
        *("adapt", _TASK, "--metaprompt", "metaprompt", "--shots", 4, "--out", "run"),
        *("--set", f"backbone={model}", "--set", "device=cpu"),
    )
    run(folder, "evaluate", store / _TASK, "--task", _TASK, "--rows", 4, *on)
    (folder / "note.txt").write_text("Lives alone. Never smoked.")
    (folder / "notes.jsonl").write_text('{"text": "Never smoked.", "statement": "Smokes."}\n')
    run(folder, "predict", store / _TASK, "notes.jsonl", "answers.jsonl", *on)
    assert (folder / "answers.jsonl").read_text().count("\n") == 1
    run(folder, "prompts", "verify", store / _TASK, "--backbone", model)
    run(folder, "prompts", "list", store)
    run(folder, "tasks", "show", _TASK)
    constraint.MIN_SHARE = 0.0  # a random model has little probability on allowed tokens
    with running(load_backbone(str(model), device="cpu"), store) as server:
        body = {"tasks": [_TASK], "text": "Never smoked.", "fields": {"statement": "Smokes."}}
        given = server.client.post("/v1/predict", json=body)
        assert given.status_code == 200, given.text
    fetched = call("tasks", "fetch", "ner-bc5cdr", "--to", folder / "data", folder=folder)
    assert fetched.exit_code == 2, fetched.stderr
    sys.stdout.write(f"done; fetch said: {fetched.stderr.strip().splitlines()[-1]}\n")


if __name__ == "__main__":
    main()
