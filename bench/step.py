"""Time one training step of clinprompt beside PEFT's, alternately, in one process.

Same backbone, same rows, same loss (the mean cross-entropy of target tokens, each row alike), same
optimizer. Prints medians and ratios and writes them to docs/results/bench/step.json.

Run: python bench/step.py [--rows 16] [--length 100] [--repeats 5]
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from torch.nn.functional import cross_entropy

from clinprompt.backbone.load import Backbone, load_backbone
from clinprompt.backbone.shared_prefix import accumulate_gradients
from clinprompt.batches.encode import Encoder, Row, collate, micro_batches
from clinprompt.config import DataSettings
from clinprompt.prompts.decomposed import DecomposedPrompts, neutral_factors
from clinprompt.prompts.initializers import from_vocabulary
from clinprompt.recipes.context import environment
from clinprompt.recipes.suite import examples_of, load_suite
from clinprompt.recipes.tune import task_objective

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "bench" / "step.json"
NUM_TASKS = 4
Step = Callable[[], None]


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--length", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    wanted = parser.parse_args()
    steps = {
        "clinprompt, metaprompt": clinprompt_step,
        "PEFT, prompt tuning": peft_prompt_step,
        "PEFT, LoRA r = 8": lora_step,
    }
    ready = {name: make(load_backbone("smollm2-135m"), wanted) for name, make in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in ready}
    for turn in range(wanted.repeats + 1):
        for name, step in ready.items():
            started = perf_counter()
            step()
            if turn:
                times[name].append(perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in times.items()}
    own = medians["clinprompt, metaprompt"]
    rows = [{"what": n, "seconds": m, "ratio": m / own} for n, m in medians.items()]
    for row in rows:
        print(f"{row['what']:<24} {row['seconds']:7.3f} s a step   {row['ratio']:5.2f} x")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    settings = vars(wanted) | {"tasks": NUM_TASKS}
    place = environment(load_backbone("smollm2-135m"))
    RESULTS.write_text(
        json.dumps({"settings": settings, "steps": rows, "environment": place}, indent=2) + "\n"
    )


def practice_rows(backbone: Backbone, count: int) -> list[Row]:
    """Return rows of the first source tasks of the practice suite, in turn."""
    suite = load_suite("practice", DataSettings(), None)
    encoder = Encoder(backbone.tokenizer, 128, 32)
    examples = [
        examples_of(data, "train", limit=count, seed=0) for data in suite.sources[:NUM_TASKS]
    ]
    return [encoder.encode(examples[i % NUM_TASKS][i], i % NUM_TASKS) for i in range(count)]


def clinprompt_step(backbone: Backbone, wanted: argparse.Namespace) -> Step:
    """Return one step of a metaprompt over several tasks."""
    rows = practice_rows(backbone, wanted.rows)
    generator = torch.Generator().manual_seed(0)
    shared = from_vocabulary(backbone.embeddings, length=wanted.length, generator=generator)
    factors = neutral_factors(
        NUM_TASKS, length=wanted.length, hidden_size=576, rank=1, generator=generator
    )
    module = DecomposedPrompts(shared, *factors)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    groups = micro_batches(rows, max_tokens=2048)
    batches = [collate([rows[i] for i in group], pad_id=backbone.pad_id) for group in groups]

    def step() -> None:
        optimizer.zero_grad()
        tasks = list(range(NUM_TASKS))
        loss = task_objective(len(rows), {})
        accumulate_gradients(backbone.model, module(tasks), tasks, batches, loss)
        optimizer.step()

    return step


def peft_prompt_step(backbone: Backbone, wanted: argparse.Namespace) -> Step:
    """Return one step of PEFT's prompt tuning: every row carries the prompt."""
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=wanted.length)
    return _peft_step(backbone, get_peft_model(backbone.model, config), wanted)


def lora_step(backbone: Backbone, wanted: argparse.Namespace) -> Step:
    """Return one step of PEFT's LoRA on the attention projections."""
    modules = ["q_proj", "k_proj", "v_proj", "o_proj"]
    config = LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules=modules)
    return _peft_step(backbone, get_peft_model(backbone.model, config), wanted)


def _peft_step(backbone: Backbone, model: torch.nn.Module, wanted: argparse.Namespace) -> Step:
    rows = practice_rows(backbone, wanted.rows)
    batch = collate(rows, pad_id=backbone.pad_id)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        mask = batch.attention_mask.long()
        logits = model(input_ids=batch.input_ids, attention_mask=mask).logits
        logits = logits[:, -batch.labels.shape[1] :]
        labels = batch.labels[:, 1:]
        losses = cross_entropy(
            logits[:, :-1].transpose(1, 2), labels, ignore_index=-100, reduction="none"
        )
        (losses.sum(dim=1) / (labels >= 0).sum(dim=1)).mean().backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
