"""Compare a metaprompt with LoRA and prompt tuning on all training rows, on one GPU.

Fills configs/full-data.toml: the targets of configs/open21-cpu.toml, up to 4,000 training rows
each. Validation rows choose the best state of every fit. The rates are those of an earlier search
(--rates), or are searched first. README.md says what it needs and returns.

Run, from the root of the repository, with CLINPROMPT_MIRROR set:
     python bench/gpu/4_full_data.py OUT --metaprompt FOLDER --rates OUT-OF-3 --mps
     python bench/gpu/4_full_data.py OUT --resume OUT/state.tar.gz     (after a stop)
     python bench/gpu/4_full_data.py OUT --tiny MODEL                  (a trial, on any processor)
"""

from grids import Grid, grid_arguments, run_script
from session import read_arguments

GRID = Grid("full-data", "full-data.toml")


def main() -> None:
    """Search if there are no rates, compare, and leave in OUT what was finished."""
    given = read_arguments(grid_arguments(__doc__, prompts=3, lora=6), "full-data")
    run_script(given, GRID, __file__)


if __name__ == "__main__":
    main()
