"""Score saved prompts with lm-evaluation-harness."""
