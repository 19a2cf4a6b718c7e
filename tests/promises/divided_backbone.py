"""What a backbone computes with prompts, alone or divided over the processes that run this file."""

import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from tiny import random_prompts, random_rows

from clinprompt.backbone.bank import make_bank
from clinprompt.backbone.decode import score_choices, write
from clinprompt.backbone.gradients import StepPrompts, accumulate_gradients
from clinprompt.backbone.layers import to_layer_prompts
from clinprompt.backbone.load import load_backbone
from clinprompt.backbone.shared_prefix import float32_head
from clinprompt.batches.encode import collate, micro_batches
from clinprompt.training.fit import TASK_LOSS

PLACEMENTS = ("prefix", "suffix", "layers")
ROWS = random_rows([(9, 3), (4, 2), (12, 1), (30, 4)], tasks=(0, 1))
QUESTIONS = random_rows([(9, 0), (2, 0), (30, 0), (14, 0), (1, 0)], tasks=(0, 1), seed=3)
CHOICES = [((10, 11, 12), (10, 11, 13), (40,)), ((5,), (6, 7))]
END = 257


def results(backbone):
    """Return everything that a backbone computes with prompts, by name."""
    found = {"embeddings": backbone.embeddings.float()}
    found["in layers"] = to_layer_prompts(backbone.model, random_prompts(2, 4))
    for placement in PLACEMENTS:
        start = found["in layers"] if placement == "layers" else random_prompts(2, 4)
        own = {**trained(backbone, start, placement), **answered(backbone, start, placement)}
        found |= {f"{placement} {name}": value for name, value in own.items()}
    return found


def trained(backbone, start, placement):
    """Return the loss of a step of two micro-batches, and the gradient of its prompts."""
    prompts = start.clone().requires_grad_()
    step = StepPrompts(prompts, (0, 1), (0, 0), placement)
    groups = micro_batches(ROWS, max_tokens=40)
    batches = [collate([ROWS[i] for i in group], pad_id=backbone.pad_id) for group in groups]
    [loss] = accumulate_gradients(backbone.model, step, batches, TASK_LOSS)
    return {"loss": torch.tensor(loss.total), "gradient": prompts.grad}


def answered(backbone, start, placement):
    """Return greedy answers, each with its length, and the scores of choices."""
    with torch.no_grad():
        bank = make_bank(backbone.model, start, placement)
    limits, rules = [12] * len(QUESTIONS), [None] * len(QUESTIONS)
    written = write(backbone, QUESTIONS, bank, limits=limits, end_ids=(END,), constraints=rules)
    scores = score_choices(backbone, QUESTIONS[:2], CHOICES, bank)
    return {
        "text": torch.tensor([number for one in written for number in (len(one.ids), *one.ids)]),
        "certainty": torch.tensor([value for one in written for value in one.log_probabilities]),
        "scores": torch.tensor([score for own in scores for score in own]),
    }


def results_in_16_bits(backbone):
    """Return what the head of a backbone in bfloat16 computes in float32, and greedy answers."""
    hidden = torch.randn(3, backbone.hidden_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits = float32_head(backbone.model)(hidden.bfloat16())
    return {"head": logits, "text": answered(backbone, random_prompts(2, 4), "prefix")["text"]}


def results_of(folder, *, tensor_parallel=False):
    """Return the results of a saved model in float32 and bfloat16."""
    options = {"device": "cpu", "tensor_parallel": tensor_parallel}
    found = results(load_backbone(str(folder), **options))
    short = results_in_16_bits(load_backbone(str(folder), dtype=torch.bfloat16, **options))
    return found | {f"bfloat16 {name}": value for name, value in short.items()}


def main(rank, size, out, *folders):
    """Save the results of this process, a file for each model."""
    torch.set_num_threads(1)
    meeting = f"file://{out}/meeting"
    dist.init_process_group(
        "gloo", meeting, rank=int(rank), world_size=int(size), timeout=timedelta(seconds=120)
    )
    for folder in folders:
        found = results_of(folder, tensor_parallel=True)
        torch.save(found, Path(out) / f"{Path(folder).name}-{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
