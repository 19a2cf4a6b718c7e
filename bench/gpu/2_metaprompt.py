"""Learn a metaprompt (configs/shipped-2.toml) within a given time, on one GPU.

Times a few steps of the teachers and of the distillation first. Then it decides how many steps of
each fit, before the decay of the learning rates begins. README.md says what it needs and returns.

Run, from the root of the repository, with CLINPROMPT_MIRROR set:
     python bench/gpu/2_metaprompt.py OUT --seconds 330
     python bench/gpu/2_metaprompt.py OUT --resume OUT/state.tar.gz     (after a stop)
     python bench/gpu/2_metaprompt.py OUT --tiny MODEL                  (a trial, on any processor)
"""

import sys

from learning import learn
from session import Session, arguments_of, read_arguments


def main() -> None:
    """Learn in a worker process, and leave in OUT what was finished, however the call ends."""
    parser = arguments_of(__doc__)
    parser.add_argument("--seed", type=int, default=0)
    given = read_arguments(parser, "metaprompt")
    if given.worker:
        learn(given, {})
        return
    session = Session(given.out, given.work, given.seconds)
    session.resume(given.resume)
    with session.returning():
        left = ["--work", str(given.work), "--seconds", str(session.seconds_left)]
        session.start(__file__, *sys.argv[1:], *left, "--worker", "learn")
        is_done = session.wait()
    session.say("done" if is_done else "not finished: --resume continues, see log.txt")
    session.show_log(2500)
    sys.exit(0 if is_done else 1)


if __name__ == "__main__":
    main()
