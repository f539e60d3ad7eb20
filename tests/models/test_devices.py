"""Number formats that `auto` chooses: by what the processor can do, so that no result depends on how busy it is."""

from typing import Any

import pytest
import torch

from stages.qa.models.checkpoints import bf16_is_fast

AMD, INTEL = {"cpu_name": "AMD EPYC"}, {"cpu_name": "Intel(R) Xeon(R)"}


@pytest.mark.parametrize(
    ("cpu", "fast"),
    [
        (INTEL | {"amx_bf16": True, "avx512_bf16": True}, True),
        (INTEL | {"amx_bf16": False, "avx512_bf16": True}, False),
        (AMD | {"amx_bf16": False, "avx512_bf16": True}, True),
        (AMD | {"amx_bf16": False, "avx512_bf16": False}, False),
        ({"architecture": "arm64"}, False),
    ],
)
def test_auto_goes_by_the_processor(cpu: dict[str, Any], fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cpu)
    assert bf16_is_fast("cpu") is fast
