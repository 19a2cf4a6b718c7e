"""Cells of made-up answers: accuracy of rows that are right (1) or wrong (0)."""

from clinprompt.evaluation.cells import Cell


def answered(method, is_right, *, target="headqa", **changes):
    """Return the cell of a method whose answers to a target's rows are right or wrong."""
    rows = [float(right) for right in is_right]
    value = sum(rows) / len(rows)
    values = {
        "target": target,
        "task_type": "qa",
        "method": method,
        "shots": 16,
        "num_examples": 16,
        "seed": 0,
        "metric": "accuracy",
        "scorer": "accuracy",
        "value": value,
        "low": max(0.0, value - 0.1),
        "high": min(1.0, value + 0.1),
        "num_rows": len(rows),
        "detectable": 0.1,
        "row_digest": f"{target}-{len(rows)}",
        "statistics": tuple((row, 1.0) for row in rows),
    }
    return Cell(**{**values, **changes})
