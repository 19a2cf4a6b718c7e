"""A wrong device is named, not taken for a missing backbone."""

import pytest

from clinprompt.backbone.load import load_backbone_of
from clinprompt.errors import BackboneError
from clinprompt.prompts.artifact import Manifest


def test_a_wrong_device_is_named_if_the_backbone_is_not_found_either():
    shape = {"length": 2, "hidden_size": 3}
    names = {"kind": "prompt", "name": "mine", "method": "made", "backbone": "some/model"}
    manifest = Manifest(fingerprint="tensors:0", **names, **shape)
    with pytest.raises(BackboneError, match="device 'bogus' is not available"):
        load_backbone_of(manifest, device="bogus")
