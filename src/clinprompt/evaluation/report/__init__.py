"""The report of a comparison: tables, figures, Markdown and HTML."""
