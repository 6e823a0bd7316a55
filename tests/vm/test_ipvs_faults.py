"""Faults of proxy mode ipvs: the symptom is there, a trace names the fault, and once it is mended all is as before."""

from __future__ import annotations

import json

import pytest
from e2e import test_faults
from e2e.test_faults import CLUSTER, LOCAL, SERVICE, WEB

from emulab import Lab
from emulab.kinds.faults.table import FAULTS

pytestmark = [pytest.mark.vm, pytest.mark.asyncio(loop_scope="module")]

IPVS = {**CLUSTER, "spec": {"nodes": 2, "proxy": {"mode": "ipvs"}}}


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.needs_mode == "ipvs"])
async def test_a_fault_of_ipvs(name: str) -> None:
    async with Lab.from_text("\n---\n".join(map(json.dumps, (IPVS, WEB, SERVICE, LOCAL)))) as lab:
        await test_faults.test_symptom_explanation_mend(lab, name)
