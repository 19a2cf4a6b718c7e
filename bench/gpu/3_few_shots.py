"""Compare a metaprompt with LoRA and prompt tuning at 16 and 64 examples, on one GPU.

Fills configs/few-shots.toml for 16 examples first, draw by draw, with rates that were searched on a
CPU. Then it searches the rates of each method for 64 examples on held-out tasks
(search-few-shots.toml), with four trials a method, and fills the config for 64 examples with them.
README.md says what it needs and returns.

Run, from the root of the repository, with CLINPROMPT_MIRROR set:
     python bench/gpu/3_few_shots.py OUT --metaprompt FOLDER --mps
     python bench/gpu/3_few_shots.py OUT --resume OUT/state.tar.gz     (after a stop)
     python bench/gpu/3_few_shots.py OUT --tiny MODEL                  (a trial, on any processor)
"""

from grids import Grid, grid_arguments, run_script
from session import read_arguments

# Its rates are from configs/four-targets-search.toml; those that are not here equal the config's.
SIXTEEN = {"name": "few-shots-16", "baselines.prompt_rate": 0.05, "compare.shots": [16]}
GRID = Grid(
    "few-shots",
    "few-shots.toml",
    known=SIXTEEN,
    narrowed={"compare.shots": [64]},
    tiny={"compare.shots": [4]},
)


def main() -> None:
    """Search, compare, and leave in OUT what was finished, however the call ends."""
    given = read_arguments(grid_arguments(__doc__, prompts=2, lora=7), "few-shots")
    run_script(given, GRID, __file__)


if __name__ == "__main__":
    main()
