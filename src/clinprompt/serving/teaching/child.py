"""Adapt one task in a process of its own: at low priority, alone on the machine, silently.

``python -m clinprompt.serving.teaching.child ORDER`` with an ``Order`` as JSON. The process ends,
and keeps what it has trained, when the server that started it ends. What came of it is in the
file ``outcome``; nothing is printed, because an unexpected message may hold text of a record.
"""

import os
import signal
import sys
from pathlib import Path
from threading import Thread
from typing import NoReturn

from pydantic import BaseModel, ConfigDict

from clinprompt.errors import ClinpromptError, place_of
from clinprompt.files import locked, write_text

_NICE = 10


class Order(BaseModel):
    """What to adapt: the task's folder, the run's, and what ``adapt`` takes.

    ``lock`` is the file that the only adaptation of this machine locks.
    """

    model_config = ConfigDict(frozen=True)

    task: Path
    run: Path
    shots: int
    metaprompt: str
    settings: tuple[str, ...]
    lock: Path
    outcome: Path


class Outcome(BaseModel):
    """What came of an adaptation: the folder of its prompt, or what is wrong."""

    model_config = ConfigDict(frozen=True)

    prompt: str = ""
    error: str = ""


def adapt(order: Order) -> Outcome:
    """Adapt the task; return what came of it."""
    from clinprompt import api  # noqa: PLC0415 - slow to import, and the lock comes first

    try:
        annotator = api.adapt(
            order.task,
            shots=order.shots,
            metaprompt=order.metaprompt,
            folder=order.run,
            settings=order.settings,
        )
    except ClinpromptError as error:
        return Outcome(error=str(error))
    except Exception as error:
        return Outcome(error=f"an unexpected error: {place_of(error)}")
    return Outcome(prompt=str(annotator.folder))


def _end_with_the_server() -> None:
    """Wait until the server closes the pipe, or is gone, and end this process as Ctrl-C does."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _exit(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def main() -> None:
    """Run the order that the first argument is."""
    os.nice(_NICE)
    signal.signal(signal.SIGTERM, _exit)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this
    Thread(target=_end_with_the_server, daemon=True).start()
    order = Order.model_validate_json(sys.argv[1])
    with locked(order.lock, wait=False) as is_ours:
        outcome = adapt(order) if is_ours else Outcome(error=ANOTHER)
        write_text(order.outcome, outcome.model_dump_json() + "\n", is_private=True)


ANOTHER = "another adaptation is running on this machine; wait until it ends, or stop it"
if __name__ == "__main__":
    main()
