"""What a task is: cards, records, readers, text formats. Text only; no torch."""
