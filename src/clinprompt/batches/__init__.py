"""From examples to batches: encoding, task sampling, few-shot sampling. Knows no prompts."""
