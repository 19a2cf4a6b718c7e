"""Benches run, and the documents show what they measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.usefixtures("smollm2")
def test_bench_for_a_gpu_runs_from_start_to_end_at_tiny_shapes(tmp_path):
    command = [sys.executable, str(ROOT / "bench" / "gpu.py"), str(tmp_path), "--tiny"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads((tmp_path / "gpu.json").read_text())
    for name in ("Llama 3.1 8B", "gpt-oss 20B"):
        assert found[name]["PEFT, multitask prompt tuning"]["ratio"] > 0
        assert 0 < found[name]["share of the limit"] < 1
    assert found["SmolLM2-135M"]["tokens a second"] > 0


def test_page_on_performance_shows_the_committed_results():
    sys.path.insert(0, str(ROOT / "bench"))
    try:
        from run import BEGIN, END, RESULTS, inserted  # noqa: PLC0415
    finally:
        sys.path.pop(0)
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    known = json.loads((RESULTS / "bench.json").read_text(encoding="utf-8"))
    assert page.split(BEGIN)[1].split(END)[0].strip() == inserted(known)
