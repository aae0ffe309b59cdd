"""A trial on several machines: the same command is started on each, and says which of them it is by its environment.

torchrun (and whoever sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT by hand) and Slurm's srun are understood. They
start one command a node, which starts the node's ranks, or one a device. The folder of the run is on a disk that all of
them share; the first command alone writes there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

from playbook.config import TrainerConfig
from playbook.errors import InputError
from playbook.training.distributed import Rank

_FIRST_PORT, _NUM_PORTS = 20_000, 10_000


@dataclass(frozen=True)
class Launch:
    """The ranks that this command starts, and where all ranks of the trial meet."""

    ranks: tuple[Rank, ...]
    address: str
    port: int
    """0: any that is free."""
    index: int = 0
    count: int = 1
    """This is command `index` of `count`."""
    of_torchrun: bool = False
    """Whether torchrun holds the place where they meet."""

    @property
    def is_first(self) -> bool:
        """Whether the rank that writes is among them, and the folder is this command's to prepare."""
        return self.ranks[0].is_first


def launch_of(settings: TrainerConfig, environ: Mapping[str, str] = os.environ) -> Launch:
    """Which part of the trial this command is; on one machine, all of it.

    Raises:
        InputError: there are several nodes, and the environment does not say which this is, or counts them otherwise.
    """
    if settings.num_nodes == 1:
        return Launch(_ranks(settings, 0, 1, 0), "127.0.0.1", port=0)
    given = f"trainer.num_nodes={settings.num_nodes}"
    if not {"RANK", "NODE_RANK", "SLURM_PROCID"} & environ.keys():
        raise InputError(
            f"{given}: start the same command on every node by srun, or by torchrun --nnodes={settings.num_nodes}"
            " --nproc-per-node=1; neither RANK nor SLURM_PROCID is set here"
        )
    count = settings.num_nodes
    try:
        if "RANK" in environ or "NODE_RANK" in environ:
            index = int(environ.get("RANK", environ.get("NODE_RANK", "0")))
            count = int(environ["WORLD_SIZE"]) if "RANK" in environ else count
            local = int(environ.get("LOCAL_RANK", "0"))
            address, port = environ["MASTER_ADDR"], int(environ["MASTER_PORT"])
        else:
            index, count = int(environ["SLURM_PROCID"]), int(environ["SLURM_NTASKS"])
            local = int(environ["SLURM_LOCALID"])
            nodes = environ.get("SLURM_STEP_NODELIST") or environ["SLURM_JOB_NODELIST"]
            address = environ.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(nodes)
            port = int(environ.get("MASTER_PORT") or _FIRST_PORT + int(environ["SLURM_JOB_ID"]) % _NUM_PORTS)
    except (KeyError, ValueError) as error:
        said = f"{error.args[0]} is not set" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{given}: what this command's environment says of the nodes is not whole ({said})") from None
    allowed = (settings.num_nodes, settings.num_nodes * settings.num_devices)
    if count not in allowed or not 0 <= index < count:
        raise InputError(
            f"{given}: this is command {index} of {count}; start one a node ({allowed[0]}) or one a device"
            f" ({allowed[1]})"
        )
    of_torchrun = environ.get("TORCHELASTIC_USE_AGENT_STORE") == str(True)
    return Launch(_ranks(settings, index, count, local), address, port, index, count, of_torchrun)


def first_rank(settings: TrainerConfig) -> Rank:
    """The rank that writes."""
    return Rank(0, settings.num_nodes * settings.num_devices, 0, settings.num_devices)


def _ranks(settings: TrainerConfig, index: int, count: int, local: int) -> tuple[Rank, ...]:
    """Those of command `index` of `count`, which is number `local` of its node."""
    world_size = settings.num_nodes * settings.num_devices
    each = world_size // count
    return tuple(
        Rank(index * each + number, world_size, local * each + number, settings.num_devices) for number in range(each)
    )
