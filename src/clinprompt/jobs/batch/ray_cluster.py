"""Start a Ray of this machine alone, or join a cluster. The only module that imports ray.

A Ray of our own listens on this machine only, asks its processes for a secret, sends no usage
statistics and shows no dashboard. Its files are in a private folder, which is removed at the end.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from secrets import token_hex
from tempfile import mkdtemp
from types import ModuleType

from clinprompt.errors import RunError, SettingError, how_to_install

_OBJECT_STORE_BYTES = 100 * 1024 * 1024  # near the least that Ray accepts; only numbers go there
_LONGEST_FOLDER = 40  # bytes; a socket's path has at most 107, and Ray adds up to 66
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0"}
# In spite of its name, this also makes Ray on Linux use 127.0.0.1 only.
_LOCAL = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
_SECRET = "RAY_AUTH_TOKEN"


def require_ray() -> None:
    """Check that Ray is installed.

    Raises:
        SettingError: it is not.
    """
    if find_spec("ray") is None:
        raise SettingError(f"--engine ray needs the package ray; {how_to_install('scale')}")


@contextmanager
def ray_of(address: str, *, num_workers: int) -> Iterator[ModuleType]:
    """Yield the module ``ray``, connected to the cluster at an address until the block ends.

    Without an address, start a Ray of this machine, with processors for ``num_workers``.

    Raises:
        RunError: Ray does not start, or there is no cluster at the address.
        SettingError: the path of the temporary folder is too long.
    """
    with ExitStack() as stack:
        if address:
            stack.enter_context(_environment(_QUIET))
            options: dict[str, object] = {"address": address}
        else:
            folder = stack.enter_context(_private_folder())
            stack.enter_context(_environment({**_QUIET, **_LOCAL, _SECRET: token_hex(32)}))
            options = _own_ray(folder, num_workers)
        ray = import_module("ray")
        stack.callback(ray.shutdown)
        try:
            ray.init(**options, log_to_driver=False, logging_level="error")
        except Exception as error:  # Ray raises this class itself; it knows no text of a note
            raise RunError(
                f"Ray did not start: {str(error).strip() or type(error).__name__}; try again "
                "when the machine is less busy, or leave --engine ray out"
            ) from error
        yield ray


def num_useful_workers(ray: ModuleType, device: str) -> int:
    """Return the number of GPUs of a cluster, if they are to be used; or of its machines."""
    return int(_num_gpus(ray, device)) or sum(1 for node in ray.nodes() if node["Alive"])


def share_of_worker(
    ray: ModuleType, num_workers: int, device: str, *, is_own: bool
) -> dict[str, float]:
    """Return what each of some workers gets: processors and GPUs, as Ray's options name them.

    All processors of a Ray that ``is_own`` are divided among them. On a cluster each gets one.
    """
    num_gpus = _num_gpus(ray, device)
    num_cpus = int(ray.cluster_resources()["CPU"]) // num_workers if is_own else 1
    return {
        "num_cpus": max(1, num_cpus),
        "num_gpus": 1 / ceil(num_workers / num_gpus) if num_gpus else 0,
    }


def _num_gpus(ray: ModuleType, device: str) -> float:
    return 0.0 if device == "cpu" else float(ray.cluster_resources().get("GPU", 0))


def _own_ray(folder: Path, num_workers: int) -> dict[str, object]:
    """Return the options of ``ray.init`` for a Ray of this machine with its files in a folder."""
    return {
        "address": "local",  # also if RAY_ADDRESS names a cluster
        "num_cpus": max(os.cpu_count() or 1, num_workers),
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
        "object_spilling_directory": str(folder / "spill"),
        "_temp_dir": str(folder / "ray"),  # everybody may read it: so it is in a private one
    }


@contextmanager
def _private_folder() -> Iterator[Path]:
    """Yield a new folder that only its owner can read, and remove it at the end."""
    folder = Path(mkdtemp(prefix="clinprompt-ray-"))
    try:
        if len(os.fsencode(folder)) > _LONGEST_FOLDER:
            raise SettingError(
                f"{folder}: too long for the names of Ray's sockets; set TMPDIR to a folder with a "
                "short name, such as /tmp"
            )
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment, which Ray's processes inherit, until the block ends."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
