"""Run a function in several processes, with the environment that torchrun would give them."""

import os
import socket
import traceback
import warnings
from multiprocessing import get_context
from time import monotonic

import torch

from clinprompt.backbone.ranks import joined


def in_processes(count, work, *, seconds=240):
    """Return what ``work(rank)`` returns in each process, or the error that it raises.

    The processes are copies of this one, which takes no time. Whatever they return is sent, so it
    holds plain values, not tensors. Processes that have not ended after ``seconds`` are killed.
    """
    context, port = get_context("fork"), _free_port()
    ends = [context.Pipe(duplex=False) for _ in range(count)]
    processes = [
        context.Process(target=_run, args=(rank, count, port, work, sender))
        for rank, (_, sender) in enumerate(ends)
    ]
    for process, (_, sender) in zip(processes, ends, strict=True):
        with warnings.catch_warnings():  # from Python 3.12 on, of threads, which tests have
            warnings.filterwarnings("ignore", "This process", DeprecationWarning)
            process.start()
        sender.close()
    deadline = monotonic() + seconds
    try:
        return [_received(receiver, deadline) for receiver, _ in ends]
    finally:
        for process in processes:
            process.kill()
            process.join()


def _received(receiver, deadline):
    if not receiver.poll(max(0.0, deadline - monotonic())):
        return TimeoutError("the process waits for another one")
    try:
        return receiver.recv()
    except EOFError:
        return EOFError("the process was ended")


def _run(rank, count, port, work, sender):
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in numbers.items()}
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    torch.set_num_threads(1)
    try:
        with joined():
            found = work(rank)
    except BaseException as error:
        traceback.print_exc()
        found = error
    sender.send(found)


def _free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
