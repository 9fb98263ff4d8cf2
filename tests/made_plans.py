"""Measurements of made-up cases, and the plans made from them."""

from typing import Any

from kseg.records.fingerprint import Fingerprint
from kseg.records.plan import Plan, make_plan


def fingerprint(**changes: Any) -> Fingerprint:
    values: dict[str, Any] = {
        "shape": (36, 50, 35),
        "spacing_mm": (1.0, 1.0, 1.0),
        "class_voxels": (62_370, 630),
        "inside": ((-100.0, 300.0, 80.0, 40.0),),
        "outside": ((-1000.0, 1000.0, 0.0, 300.0),),
        "components": (1,),
        "largest_component": (1.0,),
    }
    return Fingerprint(**(values | changes))


def plan_of(*cases: Fingerprint, channels: tuple[str, ...] = ("MRI",), memory_gb: float = 4) -> Plan:
    return make_plan(cases, channels, ("background", "muscle"), memory_gb)
