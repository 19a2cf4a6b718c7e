"""Summarize: free text, as in ``free_text``. The middle of a text that is too long is cut."""

from clinprompt.tasks.kinds.free_text import FREE_TEXT

SUMMARIZATION = FREE_TEXT
