"""One process of a fleet in the foreground: what a container, a systemd unit or a terminal starts."""

import os
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from cli.programs import Program
from cli.upgrading import check_ledger
from pipeline.errors import Misconfigured
from pipeline.settings import load
from tasks.app import QUEUES


def pool_processes(home: Path, pool: str, processes: int | None) -> int:
    """How many processes a pool's worker has: what was asked for, else the setting `workers`. Raises Misconfigured."""
    if pool not in QUEUES:
        raise Misconfigured(f"no pool {pool!r}; there are: {', '.join(QUEUES)}")
    return processes or load(home).workers.get(pool, 1)


def become(program: Program) -> NoReturn:
    """Turns this process into the program, so that signals reach it and its exit code is seen. Raises Misconfigured."""
    # What is wrong is one sentence here, and a traceback at every task later.
    check_ledger(load(program.home))
    run = program.home / "run"
    try:
        run.mkdir(parents=True, exist_ok=True)
        # Celery puts its folder before everything else on its path; this one holds no modules.
        os.chdir(run)
    except OSError as error:
        raise Misconfigured(f"{run}: must be a folder that can be written: {error.strerror}") from None
    own = {**program.environment, "FLFLEET_HOME": str(program.home)}
    # What the operator sets wins, except for which pool this is.
    environment = {**own, **os.environ, "FLFLEET_HOME": own["FLFLEET_HOME"], "FLFLEET_POOL": own["FLFLEET_POOL"]}
    os.execve(program.command[0], program.command, environment)  # noqa: S606 (our own command line)


def renamed(program: Program, name: str | None) -> Program:
    """The program under another node name, where several of a pool run on one host."""
    if name is None:
        return program
    at = program.command.index("-n") + 1
    return replace(program, command=(*program.command[:at], name, *program.command[at + 1 :]))
