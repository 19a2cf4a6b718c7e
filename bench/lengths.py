"""Write how long the rows of open21's sources are: numbers alone, so that benches need no data.

Once as configs/open21.toml reads them, and once with inputs of at most 128 tokens.

Run: python bench/lengths.py DIR    (the mirror; writes bench/lengths.json)
"""

import json
import sys
from pathlib import Path

from clinprompt.backbone.load import load_tokenizer
from clinprompt.batches.encode import make_encoder
from clinprompt.runs.examples import training_rows
from clinprompt.settings.run import load_config
from clinprompt.tasks.card import find_card
from clinprompt.tasks.load import load_task
from clinprompt.tasks.suite import find_suite

LENGTHS = Path(__file__).parent / "lengths.json"
ROWS = 64


def main() -> None:
    """Encode a sample of every source's training rows; save input and target lengths."""
    data = load_config(Path(__file__).parents[1] / "configs" / "open21.toml").data
    tokenizer = load_tokenizer("smollm2-135m")
    lengths = {}
    for longest in (128, data.max_input_tokens):
        shorter = data.model_copy(update={"max_input_tokens": longest})
        encoder = make_encoder(tokenizer, shorter)
        for name in find_suite("open21").sources:
            task = load_task(find_card(name), Path(sys.argv[1]))
            rows = training_rows(encoder, task, limit=ROWS, seed=0)[:ROWS]
            pairs = [[len(row.input_ids), len(row.target_ids)] for row in rows]
            lengths[f"{longest} {name}"] = pairs
    lines = (f"{json.dumps(name)}: {json.dumps(pairs)}" for name, pairs in lengths.items())
    LENGTHS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
