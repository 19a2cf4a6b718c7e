"""Learn a metaprompt on another backbone and compare it at 16 examples, on one GPU.

Learns as 2_metaprompt.py does, in at most --learn-seconds, then fills configs/few-shots.toml at 16
examples. BACKBONE is the folder of a checkpoint; nothing comes from the network. README.md says
what it needs and returns.

Run, from the root of the repository, with CLINPROMPT_MIRROR set:
     python bench/gpu/5_second_backbone.py OUT --backbone FOLDER --rates OUT-OF-3 --mps
     python bench/gpu/5_second_backbone.py OUT --backbone FOLDER --resume OUT/state.tar.gz
     python bench/gpu/5_second_backbone.py OUT --tiny MODEL            (a trial, on any processor)
"""

import argparse
import sys
from pathlib import Path

from grids import Grid, fill, grid_arguments, run_lanes, show_end
from learning import learn
from session import Session, read_arguments

MICRO_BATCH_TOKENS = 8192  # half of that of the first backbone, which is smaller
LEARNING = {
    "teacher.micro_batch_tokens": MICRO_BATCH_TOKENS,
    "distill.micro_batch_tokens": MICRO_BATCH_TOKENS,
}
COMPARING = {"adapt.micro_batch_tokens": MICRO_BATCH_TOKENS}


def main() -> None:
    """Learn, compare, and leave in OUT what was finished, however the call ends."""
    parser = grid_arguments(__doc__, prompts=1, lora=3)
    parser.add_argument("--backbone", type=Path, help="folder of a checkpoint with its tokenizer")
    parser.add_argument("--learn-seconds", type=float, default=300, help="of learning, at most")
    parser.add_argument("--seed", type=int, default=0)
    given = read_arguments(parser, "second-backbone")
    if not (given.backbone or given.tiny):
        parser.error("--backbone is missing: name the folder of a checkpoint")
    backbone = {"backbone": str((given.backbone or given.tiny).resolve())}
    if given.worker == "learn":
        learn(given, LEARNING | backbone)
    elif given.worker:
        given.metaprompt = given.work / f"metaprompt-{given.seed}"
        grid = Grid(
            "second-backbone",
            "few-shots.toml",
            fixed=COMPARING | backbone,
            narrowed={"compare.shots": [16]},
            tiny={"compare.shots": [4]},
        )
        fill(given, grid)
    else:
        sys.exit(_run(given))


def _run(given: argparse.Namespace) -> int:
    session = Session(given.out, given.work, given.seconds)
    session.resume(given.resume)
    with session.returning():
        if not (given.work / f"metaprompt-{given.seed}").is_dir():
            seconds = min(given.learn_seconds, session.seconds_left)
            words = [*sys.argv[1:], "--work", str(given.work), "--seconds", str(seconds)]
            is_learned = session.run(__file__, *words, "--worker", "learn", seconds=seconds)
            session.say("metaprompt learned" if is_learned else "no metaprompt: see log.txt")
            if not is_learned:
                session.show_log(3000)
                return 1
        is_done = run_lanes(session, given, __file__)
    return show_end(session, given, is_done=is_done)


if __name__ == "__main__":
    main()
