"""A bundle is split exactly, refused by name if damaged, and installs without an index."""

import hashlib
import json
import os
import platform
import subprocess
import sys
import zipfile

import pytest

VERSION = ".".join(map(str, sys.version_info[:2]))
PIECE = 1000  # bytes: small, so that made-up wheels are split


def _wheel(folder, name, *, requires=(), command=False, padding=0):
    """Write a made-up wheel; its padding cannot be compressed."""
    info = f"{name}-0.1.0.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 0.1.0"]
    lines += [f"Requires-Dist: {other}" for other in requires]
    members = {
        f"{name}.py": f"def main():\n    print('{name} works')\n",
        f"{name}_padding.bin": b"".join(
            hashlib.sha256(str(n).encode()).digest() for n in range(padding // 32)
        ),
        f"{info}/METADATA": "\n".join(lines) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if command:
        members[f"{info}/entry_points.txt"] = f"[console_scripts]\n{name} = {name}:main\n"
    record = "".join(f"{member},,\n" for member in [*members, f"{info}/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-0.1.0-py3-none-any.whl", "w") as archive:
        for member, content in (members | {f"{info}/RECORD": record}).items():
            archive.writestr(member, content)


def _make(bundle_files, folder, **changes):
    """Make a bundle of made-up wheels: the project, what it requires, and a backbone."""
    requires = ["made_library"] + ["made_torch"] * bool(changes.get("left_out"))
    _wheel(folder / "wheels", "clinprompt", requires=requires, command=True)
    _wheel(folder / "wheels", "made_library", padding=3 * PIECE)
    _wheel(folder / "wheels", "made_model", requires=["not_in_the_bundle"], padding=2 * PIECE)
    given = {"python": VERSION, "machine": platform.machine(), "glibc": "2.5", "left_out": ()}
    given |= {"project": "clinprompt[serve]==0.1.0", "backbone": "made_model==0.1.0", **changes}
    bundle_files.write_bundle(folder, bundle_files.About(**given), max_bytes=PIECE)
    return folder


@pytest.fixture
def bundle(bundle_files, tmp_path):
    return _make(bundle_files, tmp_path / "bundle")


def _install(bundle, *options, python=sys.executable, cwd=None):
    # An index that does not exist: an installer that asks pip's own settings for one fails.
    environment = os.environ | {"PYTHON": python, "PIP_INDEX_URL": "file:///no/such/index"}
    command = ["sh", str(bundle / "install.sh"), *map(str, options)]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment, cwd=cwd
    )


def _piece(bundle, number=2):
    return next((bundle / "wheels").glob(f"made_library*.part-{number}-of-*"))


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 2000, 10_500])
def test_pieces_join_to_the_same_file(bundle_files, bundle_installer, tmp_path, size):
    content = bytes(n * n % 251 for n in range(size))
    source = tmp_path / "in" / "file.whl"
    source.parent.mkdir()
    source.write_bytes(content)
    pieces = bundle_files.split(source, PIECE)
    assert source.exists() == (size <= PIECE)
    assert len(pieces) == (0 if size <= PIECE else -(-size // PIECE))
    assert all(piece.stat().st_size <= PIECE for piece in pieces)
    (tmp_path / "out").mkdir()
    joined = bundle_installer.join(source.parent, tmp_path / "out")
    assert [path.name for path in joined] == (["file.whl"] if pieces else [])
    assert all(path.read_bytes() == content for path in joined)


def test_a_complete_bundle_passes_its_check_and_that_of_sha256sum(bundle):
    assert max(path.stat().st_size for path in (bundle / "wheels").iterdir()) <= PIECE
    ended = _install(bundle, "--check")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "complete and undamaged" in ended.stdout
    command = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
    assert subprocess.run(command, cwd=bundle, check=False).returncode == 0


def test_missing_and_damaged_files_are_all_named_and_nothing_is_installed(bundle, tmp_path):
    missing, damaged = _piece(bundle), _piece(bundle, 3)
    missing.unlink()
    content = bytearray(damaged.read_bytes())
    content[17] ^= 1
    damaged.write_bytes(content)
    ended = _install(bundle, tmp_path / "env")
    assert ended.returncode == 1
    assert "2 of " in ended.stderr
    assert f"wheels/{missing.name}: missing; copy it again" in ended.stderr
    assert f"wheels/{damaged.name}: damaged; copy it again" in ended.stderr
    assert not (tmp_path / "env").exists()


@pytest.mark.parametrize("name", ["SHA256SUMS", "bundle.json", "install.py"])
def test_a_bundle_without_one_of_its_own_files_says_which(bundle, name):
    (bundle / name).unlink()
    ended = _install(bundle, "--check")
    assert ended.returncode == 1
    assert f"{name} is missing; copy it again" in ended.stderr


def test_cut_checksums_are_refused(bundle):
    sums = bundle / "SHA256SUMS"
    sums.write_text(sums.read_text()[:100])
    ended = _install(bundle, "--check")
    assert ended.returncode == 1
    assert "SHA256SUMS: damaged; copy it again" in ended.stderr


def test_another_version_of_python_is_refused_with_both_versions(bundle_files, tmp_path):
    ended = _install(_make(bundle_files, tmp_path / "bundle", python="3.99"), "--check")
    assert ended.returncode == 1
    assert f"this bundle is for Python 3.99, but PYTHON={sys.executable} is version {VERSION}" in (
        ended.stderr
    )
    assert f"BUNDLE_PYTHON={VERSION}" in ended.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"machine": "sparc"}, "this bundle is for Linux on sparc, but this machine is Linux on"),
        ({"glibc": "9.1"}, "needs glibc 9.1 or newer, but this machine has glibc"),
    ],
)
def test_another_machine_is_refused(bundle_files, tmp_path, changes, message):
    ended = _install(_make(bundle_files, tmp_path / "bundle", **changes), "--check")
    assert ended.returncode == 1
    assert message in ended.stderr


def test_too_little_space_is_said_before_anything_is_written(bundle, tmp_path):
    about = json.loads((bundle / "bundle.json").read_text())
    about["unpacked_bytes"] = 10**18
    text = json.dumps(about, indent=1)
    (bundle / "bundle.json").write_text(text)
    sums = (bundle / "SHA256SUMS").read_text().splitlines()
    new = hashlib.sha256(text.encode()).hexdigest() + "  bundle.json"
    kept = [new if line.endswith("  bundle.json") else line for line in sums]
    (bundle / "SHA256SUMS").write_text("\n".join(kept) + "\n")
    ended = _install(bundle, tmp_path / "env")
    assert ended.returncode == 1
    assert "1000000000000 MB are needed and" in ended.stderr
    assert not (tmp_path / "env").exists()


def test_an_existing_folder_is_left_alone(bundle, tmp_path):
    (tmp_path / "env").mkdir()
    ended = _install(bundle, tmp_path / "env")
    assert ended.returncode == 1
    assert f"{tmp_path / 'env'} exists; remove it or give another folder" in ended.stderr


@pytest.mark.slow
def test_a_bundle_installs_without_an_index_and_its_command_runs(bundle_files, tmp_path):
    folder = tmp_path / "bundle"
    (folder / "tasks").mkdir(parents=True)
    (folder / "tasks" / "long.json.xz").write_bytes(bytes(range(256)) * 10)
    (folder / "tasks" / "short.json.xz").write_bytes(b"short")
    _make(bundle_files, folder)
    ended = _install(folder, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    command = [str(tmp_path / "clinprompt-env" / "bin" / "clinprompt")]
    # A PYTHONPATH of whoever runs the tests would put the real package first.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    said = subprocess.check_output(command, text=True, env=environment)
    assert said == "clinprompt works\n"
    python = str(tmp_path / "clinprompt-env" / "bin" / "python")
    check = [python, "-c", "import made_library, made_model"]
    subprocess.run(check, check=True, env=environment)
    tasks = tmp_path / "clinprompt-tasks"
    assert {path.name: path.read_bytes() for path in tasks.iterdir()} == {
        "long.json.xz": bytes(range(256)) * 10,
        "short.json.xz": b"short",
    }
    assert f"CLINPROMPT_MIRROR={tasks}" in ended.stdout
    assert not list(tmp_path.glob("clinprompt-pieces-*"))


@pytest.mark.slow
def test_a_package_that_was_left_out_must_be_installed_already(bundle_files, tmp_path):
    folder = _make(bundle_files, tmp_path / "bundle", left_out=("made-torch",))
    assert "does not have made-torch" in (folder / "README.txt").read_text()
    ended = _install(folder, tmp_path / "env")
    assert ended.returncode == 1
    assert "made-torch: left out of this bundle and not installed for" in ended.stderr
    assert not (tmp_path / "env").exists()
