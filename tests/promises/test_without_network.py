"""Everything but `tasks fetch` works on a machine that reaches no other."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def has_namespaces():
    if shutil.which("unshare") is None:
        return False
    return (
        subprocess.run(["unshare", "-rn", "true"], check=False, capture_output=True).returncode == 0
    )


@pytest.mark.slow
@pytest.mark.skipif(not has_namespaces(), reason="the kernel lets no user make a network namespace")
def test_adapt_evaluate_predict_and_serve_need_no_network(tmp_path):
    script = Path(__file__).with_name("without_network.py")
    command = ["unshare", "-rn", sys.executable, str(script), str(tmp_path)]
    # Without the offline settings of the tests: the commands stay offline by themselves.
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_OFFLINE")}
    environment["CLINPROMPT_CACHE"] = str(tmp_path / "cache")
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    last = ended.stdout.splitlines()[-1]
    assert last.startswith("done; fetch said: error: ")
    assert "cannot be reached" in last
