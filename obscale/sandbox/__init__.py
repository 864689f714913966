"""The sandbox: simulated OceanBase clusters whose agents speak obshell's protocol.

async with serve(World(default_config(), clock=ScaledClock(speed=30.0))) as door:
    print(door.ready)
"""

from obscale.sandbox.clock import Clock, ManualClock, ScaledClock
from obscale.sandbox.config import ConfigError, WorldConfig, default_config, load_config
from obscale.sandbox.faults.fault import Fault
from obscale.sandbox.servers import Door, in_process, serve
from obscale.sandbox.world import RequestRecord, World

__all__ = [
    "Clock",
    "ConfigError",
    "Door",
    "Fault",
    "ManualClock",
    "RequestRecord",
    "ScaledClock",
    "World",
    "WorldConfig",
    "default_config",
    "in_process",
    "load_config",
    "serve",
]
