"""Shared by all tests: shape checks on, no network, one thread, tiny backbones."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.pop("COLUMNS", None)  # the width of the screen is what a test says

from jaxtyping import install_import_hook

# Every module whose signatures hold shapes; modules with protocols in signatures cannot be checked.
install_import_hook(
    [
        "clinprompt.batches",
        "clinprompt.prompts",
        "clinprompt.backbone.bank",
        "clinprompt.backbone.decode",
        "clinprompt.backbone.gradients",
        "clinprompt.backbone.head",
        "clinprompt.backbone.load",
        "clinprompt.backbone.packed",
        "clinprompt.backbone.shared_prefix",
        "clinprompt.backbone.arena",
        "clinprompt.backbone.scheduler",
        "clinprompt.training.distillation",
        "clinprompt.training.losses",
        "clinprompt.training.teacher_cache",
    ],
    "beartype.beartype",
)

import hypothesis  # noqa: E402 - after the hook
import pytest  # noqa: E402 - after the hook
import torch  # noqa: E402 - after the hook
from filelock import FileLock  # noqa: E402 - after the hook
from tiny import save_tiny  # noqa: E402 - after the hook

from clinprompt.backbone import constraint  # noqa: E402 - after the hook
from clinprompt.backbone.load import load_backbone  # noqa: E402 - after the hook
from clinprompt.settings.defaults import DEFAULT_BACKBONE  # noqa: E402 - after the hook

torch.set_num_threads(1)
hypothesis.settings.register_profile("clinprompt", deadline=None, derandomize=True)
hypothesis.settings.load_profile("clinprompt")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keep the tests away from the user's cache; tests in other processes share this one."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # each worker has a folder in the one of the whole run
    cache = folder / "shared-cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLINPROMPT_CACHE", str(cache))
        patch.delenv("CLINPROMPT_MIRROR", raising=False)
        yield cache


@pytest.fixture
def random_models_list_mentions(monkeypatch):
    """Let answers go on although a random model has little probability on allowed tokens."""
    monkeypatch.setattr(constraint, "MIN_SHARE", 0.0)


@pytest.fixture(scope="session")
def smollm2(own_cache):
    """Return the default backbone. It is dequantized once for all processes, which takes 20 s."""
    own_cache.mkdir(exist_ok=True)
    with FileLock(own_cache / "smollm2.lock"):
        return load_backbone(DEFAULT_BACKBONE, device="cpu")


@pytest.fixture(scope="session")
def tiny_llama_folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny-llama", "llama")


@pytest.fixture(scope="session")
def tiny_gpt_oss_folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny-gpt-oss", "gpt-oss")


@pytest.fixture(scope="session")
def tiny_llama(tiny_llama_folder):
    return load_backbone(str(tiny_llama_folder), device="cpu")


@pytest.fixture(scope="session")
def tiny_gpt_oss(tiny_gpt_oss_folder):
    return load_backbone(str(tiny_gpt_oss_folder), device="cpu")


@pytest.fixture(params=["tiny_llama", "tiny_gpt_oss"])
def backbone(request):
    """Each architecture in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["tiny_llama_folder", "tiny_gpt_oss_folder"])
def precise(request):
    """Each architecture in float64 (except its norms), where rounding hides fewer mistakes."""
    backbone = load_backbone(
        str(request.getfixturevalue(request.param)), device="cpu", dtype=torch.float64
    )
    if request.param == "tiny_gpt_oss_folder":
        backbone.model.set_experts_implementation("eager")  # the grouped one has no float64
    return backbone
