"""Compare a metaprompt with LoRA and prompt tuning at 16 and 64 examples, on one GPU.

Searches the rates of each method on held-back tasks (search-few-shots.toml), with four trials a
method. Then it fills configs/few-shots.toml draw by draw. README.md says what it needs and returns.

Run, from the root of the repository, with CLINPROMPT_MIRROR set:
     python bench/gpu/3_few_shots.py OUT --metaprompt FOLDER --mps
     python bench/gpu/3_few_shots.py OUT --resume OUT/state.tar.gz     (after a stop)
     python bench/gpu/3_few_shots.py OUT --tiny MODEL                  (a trial, on any processor)
"""

import sys

from grids import Grid, fill, grid_arguments, run_lanes, show_counts
from session import Session, read_arguments

GRID = Grid("few-shots", "few-shots.toml", tiny={"compare.shots": [4]})


def main() -> None:
    """Search, compare, and leave in OUT what was finished, however the call ends."""
    given = read_arguments(grid_arguments(__doc__, prompts=2, lora=7), "few-shots")
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
