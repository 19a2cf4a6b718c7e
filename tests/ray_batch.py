"""Answer a batch plainly and by Ray, kill a worker in the middle, and print what was seen.

Run: python ray_batch.py REQUEST, a pickled BatchRequest. ``output`` gets two folders.
"""

import json
import pickle
import shutil
import signal
import stat
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil

from clinprompt.jobs.batch.ray_engine import ray_engine
from clinprompt.jobs.batch.run import answer_batch

PLANTED = "PLANTEDNOTE"
NUM_WORKERS = 2
WORKING = "ray::ChunkWorker.answer"  # the name of a worker's process while it answers


class Watched:
    """A progress that kills a worker once, and keeps what there is to see of Ray."""

    def __init__(self):
        self.total = self.done = 0
        self.killed, self.workers, self.addresses, self.claimed = [], set(), set(), 0

    def begin(self, _what, *, total, done=0):
        self.total, self.done = total, done

    def advance(self, count, /):
        self.done += count
        own = psutil.Process()
        for process in [own, *own.children(recursive=True)]:
            with suppress(psutil.Error):
                for one in process.net_connections("inet"):
                    self.addresses |= {end.ip for end in (one.laddr, one.raddr) if end}
                self.see_worker(process)

    def kill_one(self):
        """Look for a worker that answers until one was killed, or the batch is finished."""
        while not self.killed and (not self.total or self.done < self.total):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    self.see_worker(process)
            time.sleep(0.002)

    def see_worker(self, process):
        if "ChunkWorker" not in name_of(process):
            return
        self.workers.add(process.pid)
        is_killer = threading.current_thread() is not threading.main_thread()
        if is_killer and not self.killed and name_of(process).startswith(WORKING):
            process.send_signal(signal.SIGSTOP)
            if name_of(process).startswith(WORKING):
                self.killed.append(process.pid)
                process.send_signal(signal.SIGKILL)
            else:
                process.send_signal(signal.SIGCONT)

    def say(self, message):
        sys.stderr.write(message)


def name_of(process):
    return " ".join(process.cmdline())


def watch_removal(seen):
    """Look at a folder of Ray just before it is removed, when all of its processes have ended."""
    remove = shutil.rmtree

    def watched(folder, **options):
        if Path(folder).name.startswith("clinprompt-ray-"):
            files = [path for path in Path(folder).rglob("*") if path.is_file()]
            seen["folder"] = str(folder)
            seen["mode"] = stat.S_IMODE(Path(folder).stat().st_mode)
            seen["logs"] = sum("logs" in path.parts for path in files)
            seen["planted"] = [str(one) for one in files if PLANTED.encode() in one.read_bytes()]
        remove(folder, **options)

    shutil.rmtree = watched


def main():
    request = pickle.loads(Path(sys.argv[1]).read_bytes())
    answer_batch(replace(request, output=request.output / "plain"), Watched())
    progress, seen = Watched(), {}
    watch_removal(seen)
    engine = ray_engine(num_workers=NUM_WORKERS)
    threading.Thread(target=progress.kill_one, daemon=True).start()
    summary = answer_batch(replace(request, output=request.output / "ray"), progress, engine)
    found = {
        "killed": progress.killed,
        "workers": sorted(progress.workers),
        "addresses": sorted(progress.addresses),
        "is_complete": progress.done == progress.total,
        "num_errors": summary.num_errors,
        **seen,
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
