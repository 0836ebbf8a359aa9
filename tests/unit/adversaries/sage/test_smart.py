"""`sage_smart`: where its experts come from."""

import pytest

from adversaries.sage.smart import SHIPPED, sage_smart
from harness.errors import WeightsError


def test_the_shipped_experts_make_a_named_adversary():
    assert {file.name for file in SHIPPED.glob("*.safetensors")} == {
        "adv.safetensors",
        "real.safetensors",
        "prior.safetensors",
    }
    assert sage_smart().name == "sage_smart"


def test_a_folder_without_experts_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"adv\.safetensors"):
        sage_smart(tmp_path)
