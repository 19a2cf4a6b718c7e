"""Score saved prompts with lm_eval on files that were written for it, and print what was seen.

Run: python harness_scores.py FOLDER, with prompts in FOLDER/store; best without a network.
"""

import contextlib
import json
import sys
from pathlib import Path

from lm_eval.api.instance import Instance

from clinprompt.cli import main as command_line
from clinprompt.errors import ClinpromptError
from clinprompt.jobs.lm_eval.model import PromptModel


def run(*words):
    """Run a command; return its exit code."""
    sys.argv = ["clinprompt", *map(str, words)]
    try:
        command_line()
    except SystemExit as end:
        return end.code or 0
    return 0


def scored(prompt, model):
    """Return what lm_eval says of a prompt on its own task."""
    task, output = f"clinprompt-{prompt.name}", prompt.parents[1] / f"scores-{prompt.name}"
    tasks = prompt.parents[1] / "tasks"
    write = ("prompts", "lm_eval_task", prompt, tasks, "--backbone", model, "--device", "cpu")
    assert run(*write) == 0
    arguments = f"prompt={prompt},backbone={model}"
    options = ("--device", "cpu", "--tasks", task, "--include_path", tasks, "--output_path", output)
    assert run("lm_eval", "--model_args", arguments, *options, "--log_samples") == 0
    [samples], [results] = output.rglob("samples_*.jsonl"), output.rglob("results_*.json")
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    return {"rows": rows, "results": json.loads(results.read_text())["results"][task]}


def asked(model, requests, kind="loglikelihood"):
    """Return the answers to requests, or the message that refuses them."""
    made = [Instance(kind, {}, one, n, ("t", 0, 1)) for n, one in enumerate(requests)]
    try:
        return getattr(model, kind)(made)
    except ClinpromptError as error:
        return str(error)


def direct(prompt, backbone):
    """Return what the model says to requests that are made by hand."""
    plain, raw = (
        PromptModel(str(prompt), backbone=str(backbone), device="cpu", calibrated=calibrated)
        for calibrated in (True, False)
    )
    context = "The patient takes iron.\nStatement: Smokes.\nTrue? yes or no:"
    short = {"until": [], "max_gen_toks": 12, "do_sample": False, "temperature": 0.0}
    [text] = asked(plain, [(context, short)], "generate_until")
    stops = {**short, "until": [text[4:6], text[2:4]]}
    return {
        "text": text,
        "stopped": asked(plain, [(context, stops)], "generate_until")[0],
        "calibrated": asked(plain, [(context, " yes"), (context, "no")]),
        "raw": asked(raw, [(context, " yes"), (context, "no")]),
        "alone": asked(plain, [(context, " yes")]),
        "sampled": asked(plain, [(context, {"do_sample": True})], "generate_until"),
        "unknown": asked(plain, [(context, {"top_k": 5})], "generate_until"),
        "rolling": asked(plain, [(context,)], "loglikelihood_rolling"),
        "too_long": asked(plain, [("iron " * 2000, " yes")]),
    }


def main():
    folder = Path(sys.argv[1])
    prompts, model = sorted((folder / "store").iterdir()), folder / "model"
    with contextlib.redirect_stdout(sys.stderr):
        found = {one.name: scored(one, model) for one in prompts}
        found["direct"] = direct(prompts[0], model)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
