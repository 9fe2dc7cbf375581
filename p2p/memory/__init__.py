"""The simulated world: an in-memory network with faults, on virtual time."""

from p2p.memory.faulty import FaultyNetwork, LinkFaults, LivingWorld
from p2p.memory.lives import Life, LifeLoop, Standing
from p2p.memory.network import MemoryFaults, MemoryNetwork
from p2p.memory.transport import MemoryTransport
from p2p.memory.virtual_time import Stuck, VirtualClock, VirtualTimeLoop, run_virtual
from p2p.memory.world import MemoryWorld

__all__ = [
    "FaultyNetwork",
    "Life",
    "LifeLoop",
    "LinkFaults",
    "LivingWorld",
    "MemoryFaults",
    "MemoryNetwork",
    "MemoryTransport",
    "MemoryWorld",
    "Standing",
    "Stuck",
    "VirtualClock",
    "VirtualTimeLoop",
    "run_virtual",
]
