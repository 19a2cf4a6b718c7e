"""Time answers: many tasks over one note, and requests of many tasks mixed, against PEFT.

PEFT keeps one adapter for each task in one model and switches between them: prompt tuning with the
same prompts, whose answers are compared with clinprompt's token by token, and LoRA of rank 8. No
answer ends early: with every method, every answer has the maximum number of tokens.
"""

import statistics
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from random import Random
from time import perf_counter
from typing import Any

import torch
from methods import LORA_MODULES
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from rows import step_rows

from clinprompt.backbone.bank import Bank, make_bank
from clinprompt.backbone.decode import generate
from clinprompt.backbone.load import Backbone, load_backbone
from clinprompt.batches.encode import Row
from clinprompt.prompts.initializers import from_vocabulary
from clinprompt.runs.examples import examples_of
from clinprompt.runs.suite_data import load_suite
from clinprompt.settings.groups import DataSettings

NEVER = -1  # an id that no token has
NOTE_TOKENS, REQUEST_TOKENS = 24, 8  # of each answer
Answers = list[tuple[int, ...]]
Method = Callable[[Sequence[Row]], Answers]


def measure(*, tasks: int, length: int, note: int, requests: int) -> dict[str, Any]:
    """Return seconds and ratios for one note under all tasks, and for mixed requests.

    Both are timed once, being sums of many answers; the first token of one request five times.
    """
    backbone = load_backbone("smollm2-135m")
    generator = torch.Generator().manual_seed(0)
    prompts = torch.stack(
        [
            from_vocabulary(backbone.embeddings, length=length, generator=generator)
            for _ in range(tasks)
        ]
    )
    with torch.no_grad():
        front, behind = (
            make_bank(backbone.model, prompts),
            make_bank(backbone.model, prompts, "suffix"),
        )
    tuned = _peft_prompts(load_backbone("smollm2-135m"), prompts)
    adapters = _peft_loras(load_backbone("smollm2-135m"), tasks)

    def methods(new_tokens: int) -> dict[str, Method]:
        return {
            "clinprompt, prompts in front": lambda rows: _own(backbone, rows, front, new_tokens),
            "clinprompt, prompts behind": lambda rows: _own(backbone, rows, behind, new_tokens),
            "PEFT prompts, task by task": lambda rows: _peft(tuned, rows, new_tokens),
            "PEFT LoRA r = 8, task by task": lambda rows: _peft(adapters, rows, new_tokens),
            "PEFT prompts, grouped by task": lambda rows: _peft_grouped(tuned, rows, new_tokens),
        }

    def without(new_tokens: int, *words: str) -> dict[str, Method]:
        known = methods(new_tokens).items()
        return {name: m for name, m in known if not any(word in name for word in words)}

    one_note = _note_rows(backbone, tasks, note)
    mixed = _mixed_rows(tasks, requests)
    return {
        "tasks": tasks,
        "prompt positions": length,
        "note tokens": len(one_note[0].input_ids),
        "new tokens for the note": NOTE_TOKENS,
        "new tokens for a request": REQUEST_TOKENS,
        "requests": requests,
        "request tokens": statistics.mean(len(row.input_ids) for row in mixed),
        "one note, all tasks": _compared(without(NOTE_TOKENS, "grouped", "LoRA"), one_note, 1),
        "mixed requests": _compared(without(REQUEST_TOKENS, "behind"), mixed, 1),
        "first token of one request": _compared(without(1, "behind", "grouped"), one_note[:1], 5),
    }


def _compared(
    methods: dict[str, Method], rows: Sequence[Row], repeats: int
) -> list[dict[str, Any]]:
    """Time the methods in turn, and measure how often PEFT and clinprompt give the same answer.

    Ratios are relative to clinprompt's fastest way.
    """
    times: dict[str, list[float]] = defaultdict(list)
    answers: dict[str, Answers] = {}
    for _ in range(repeats):
        for name, method in methods.items():
            started = perf_counter()
            answers[name] = method(rows)
            times[name].append(perf_counter() - started)
    own = next(iter(methods))
    base = min((n for n in methods if "clinprompt" in n), key=lambda n: statistics.median(times[n]))
    return [
        {
            "what": name,
            "seconds": statistics.median(taken),
            "ratio": statistics.median(t / o for t, o in zip(taken, times[base], strict=True)),
            **_agreement(name, answers[own], answers[name]),
        }
        for name, taken in times.items()
    ]


def _agreement(name: str, own: Answers, other: Answers) -> dict[str, float]:
    if not name.startswith("PEFT prompts"):
        return {}
    return {"same answers": sum(a == b for a, b in zip(own, other, strict=True)) / len(own)}


def _own(backbone: Backbone, rows: Sequence[Row], bank: Bank, new_tokens: int) -> Answers:
    return generate(backbone, rows, bank, limits=[new_tokens] * len(rows), end_ids=(NEVER,))


def _peft(model: PeftModel, rows: Sequence[Row], new_tokens: int) -> Answers:
    """Answer one request after the other, switching adapters where the task changes."""
    answers = []
    for row in rows:
        if model.active_adapter != f"task{row.task}":
            model.set_adapter(f"task{row.task}")
        answers += _generated(model, [row], new_tokens)
    return answers


def _peft_grouped(model: PeftModel, rows: Sequence[Row], new_tokens: int) -> Answers:
    """Answer all requests of a task in one batch, padded on the left, task after task."""
    answers: Answers = [()] * len(rows)
    for task in sorted({row.task for row in rows}):
        model.set_adapter(f"task{task}")
        own = [number for number, row in enumerate(rows) if row.task == task]
        for number, answer in zip(
            own, _generated(model, [rows[n] for n in own], new_tokens), strict=True
        ):
            answers[number] = answer
    return answers


@torch.inference_mode()
def _generated(model: PeftModel, rows: Sequence[Row], new_tokens: int) -> Answers:
    longest = max(len(row.input_ids) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, longest - len(row.input_ids) :] = torch.tensor(row.input_ids)
        mask[number, longest - len(row.input_ids) :] = 1
    written = model.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=new_tokens,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    return [tuple(answer) for answer in written[:, longest:].tolist()]


def _peft_prompts(backbone: Backbone, prompts: torch.Tensor) -> PeftModel:
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=prompts.shape[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(backbone.model, config, adapter_name="task0")
        for task in range(1, len(prompts)):
            model.add_adapter(f"task{task}", config)
    with torch.no_grad():
        for task, prompt in enumerate(prompts):
            model.prompt_encoder[f"task{task}"].embedding.weight.copy_(prompt)
    return model.eval()


def _peft_loras(backbone: Backbone, tasks: int) -> PeftModel:
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=8,
        lora_alpha=16,
        target_modules=LORA_MODULES,
        init_lora_weights=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(backbone.model, config, adapter_name="task0")
        for task in range(1, tasks):
            model.add_adapter(f"task{task}", config)
    return model.eval()


def _note_rows(backbone: Backbone, tasks: int, length: int) -> list[Row]:
    """Return one synthetic note before a question of each task."""
    suite = load_suite("practice", DataSettings(), None)
    notes = " ".join(
        example.record.text for example in examples_of(suite.sources[0], "train", limit=60, seed=0)
    )
    tokenizer = backbone.tokenizer
    note = tokenizer(notes, add_special_tokens=False)["input_ids"][:length]
    questions = (f"\nAnswer {task + 1}:" for task in range(tasks))
    return [
        Row(task, (*note, *tokenizer(question, add_special_tokens=False)["input_ids"]))
        for task, question in enumerate(questions)
    ]


def _mixed_rows(tasks: int, requests: int) -> list[Row]:
    """Return requests of as many tasks in random order, of open21's lengths."""
    rows = step_rows(rows=requests, tasks=min(tasks, 21), longest=128, seed=0)
    Random(0).shuffle(rows)
    return [Row(row.task, row.input_ids) for row in rows]
