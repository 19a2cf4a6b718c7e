"""Tiny random models with a byte-level tokenizer, and rows for them. Small fakes in plain sight."""

import json
import random
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GptOssConfig,
    GptOssForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from clinprompt.batches.encode import Row
from clinprompt.training.loop import PhaseFiles
from clinprompt.training.progress import Silent
from clinprompt.training.runlog import RunLog

Architecture = Literal["llama", "gpt-oss"]

HIDDEN = 32
VOCABULARY = 264
SPECIAL = ("<|im_start|>", "<|im_end|>", "<|pad|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 4096,
    "initializer_range": 0.5,
    "bos_token_id": None,
    "eos_token_id": 257,
    "pad_token_id": 258,
}


def save_tiny(
    folder: Path,
    architecture: Architecture,
    *,
    seed: int = 0,
    max_shard_size: str = "1GB",
    **changes: Any,
) -> Path:
    """Save a random model, one of whose layers sees 5 positions only if it is a gpt-oss.

    ``changes`` are other values of its config.
    """
    torch.manual_seed(seed)
    shape = {**_SHAPE, **changes}
    if architecture == "llama":
        config = LlamaConfig(**shape, num_hidden_layers=2, tie_word_embeddings=False)
        model = LlamaForCausalLM(config)
    else:
        kinds = ["sliding_attention", "full_attention", "sliding_attention"]
        config = GptOssConfig(
            **shape,
            num_hidden_layers=3,
            layer_types=kinds,
            sliding_window=5,
            num_local_experts=4,
            num_experts_per_tok=2,
            attn_implementation="eager",
        )
        model = GptOssForCausalLM(config)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    byte_tokenizer().save_pretrained(folder)
    return folder


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token a byte (ids 0 to 255) and three special ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=SPECIAL[1],
        pad_token=SPECIAL[2],
        chat_template=CHAT_TEMPLATE,
    )


def random_rows(lengths, *, tasks=(0,), seed=0):
    """Return a row for each (input length, target length), of the tasks in turn and a note each."""
    draw = random.Random(seed)
    return [
        Row(
            task=tasks[index % len(tasks)],
            input_ids=tuple(draw.randrange(256) for _ in range(num_input)),
            target_ids=tuple(draw.randrange(256) for _ in range(num_target)),
            note=index,
        )
        for index, (num_input, num_target) in enumerate(lengths)
    ]


def random_prompts(num_tasks, length, *, seed=0, width=HIDDEN):
    """Return prompts [K, P, H] of about the size of embeddings."""
    generator = torch.Generator().manual_seed(seed)
    return 0.5 * torch.randn(num_tasks, length, width, generator=generator)


def place_in(folder: Path, *, phase="phase", reporter=None) -> PhaseFiles:
    """Return the files of one phase of training in a folder."""
    log = RunLog(folder / "metrics.jsonl")
    return PhaseFiles(phase, log, folder / "checkpoint.safetensors", reporter or Silent())


class Killed(BaseException):
    """What a power cut looks like from inside."""


class KillAfter:
    """Stop everything after so many finished steps, counted over all phases."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def begin(self, phase, *, total, done=0):
        pass

    def advance(self, **_):
        self.left -= 1
        if self.left == 0:
            raise Killed

    def say(self, message):
        pass


def change_json(path: Path, **values) -> None:
    """Change top-level values of a JSON file."""
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **values}))
