"""One frozen language model, one learned metaprompt, every clinical NLP task."""

__version__ = "0.1.0"
