"""From examples to batches: encoding, task sampling, few shots. Knows nothing of prompts."""
