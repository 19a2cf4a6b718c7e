"""Infer: the label of a pair of texts, as in ``labels``. The middle of a long text is cut."""

from clinprompt.tasks.kinds.labels import CLOSED_LABELS

NLI = CLOSED_LABELS
