from pathlib import Path

from cli.programs import fleet, worker


def queues_of(command: tuple[str, ...]) -> str:
    return command[command.index("-Q") + 1]


def test_a_pool_reads_the_same_queues_alone_as_in_a_whole_fleet() -> None:
    home = Path("/home/of/a/fleet")
    together = {program.name: program for program in fleet(home, {}) if "worker" in program.command}
    assert {pool: queues_of(worker(home, pool).command) for pool in together} == {
        pool: queues_of(program.command) for pool, program in together.items()
    }
    assert queues_of(worker(home, "train").command) == "train,retrain"
