"""Compare a metaprompt with LoRA and prompt tuning on all training rows, on one GPU.

Fills configs/full-data.toml: the targets of configs/open21-cpu.toml, up to 4,000 training rows
each. Validation rows choose the best state of every fit. The rates are those of an earlier search
(--rates), or are searched first. README.md says what it needs and returns.

Run, from the root of the repository, with CLINPROMPT_MIRROR set:
     python bench/gpu/4_full_data.py OUT --metaprompt FOLDER --rates OUT-OF-3 --mps
     python bench/gpu/4_full_data.py OUT --resume OUT/state.tar.gz     (after a stop)
     python bench/gpu/4_full_data.py OUT --tiny MODEL                  (a trial, on any processor)
"""

import sys

from grids import Grid, fill, grid_arguments, run_lanes, show_counts
from session import Session, read_arguments

GRID = Grid("full-data", "full-data.toml")


def main() -> None:
    """Search if there are no rates, compare, and leave in OUT what was finished."""
    given = read_arguments(grid_arguments(__doc__, prompts=3, lora=6), "full-data")
    if given.worker:
        fill(given, GRID)
        return
    session = Session(given.out, given.work, given.seconds)
    session.resume(given.resume)
    with session.returning():
        is_done = run_lanes(session, given, __file__)
    session.say("done" if is_done else "not finished: --resume continues")
    session.show_log(6000)
    sys.exit(show_counts(given))


if __name__ == "__main__":
    main()
