"""The tormentor: does to a running fleet and network what the schedule says, and tells the watch what it hit."""

import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from cli.chaos_artifacts import ArtifactDamage
from cli.chaos_home import SKEWED, Ground
from cli.chaos_proxy import Mood
from cli.chaos_schedule import LONG_OUTAGE_SECONDS, Fault, Kind
from cli.chaos_watch import STAGE_POOLS, Place, View, Watch
from cli.supervision import Supervisor
from tasks.app import AGGREGATE, CONTROL, PUBLISH, VERIFY

WORKERS = (*STAGE_POOLS, CONTROL, VERIFY, SKEWED, AGGREGATE, PUBLISH)
#: The fleet's own, which a deploy of the fleet restarts.
FLEET_WORKERS = (*STAGE_POOLS, CONTROL, VERIFY, SKEWED)
_SHORT_OUTAGE_SECONDS = 3.0
_MOOD_SECONDS, _FULL_SECONDS, _CLOCK_SECONDS, _STOPPED_SECONDS = 3.0, 4.0, 6.0, 2.0
_CLOCK_OFFSETS = (-600.0, -180.0, 180.0, 420.0)
#: How long a kill waits for somebody at work, so that it hits a stage and not a pause.
_AIM_SECONDS = 2.0
_FILLER = ".filler"


@dataclass
class Tormentor:
    """Goes through a schedule in a thread; `skipped` names what could not be done here."""

    ground: Ground
    supervisor: Supervisor
    watch: Watch
    faults: Sequence[Fault]
    done: list[Fault] = field(default_factory=list)
    skipped: dict[Kind, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._torment, name="tormentor", daemon=True)
        self._damage = ArtifactDamage(self.ground)
        #: Ends of faults that last: (monotonic seconds, what to do).
        self._ends: list[tuple[float, Callable[[], None]]] = []
        self._start = 0.0
        self.error: Exception | None = None

    def __enter__(self) -> "Tormentor":
        self._start = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def is_done(self) -> bool:
        """Whether every fault is over."""
        return not self._thread.is_alive()

    def _torment(self) -> None:
        for fault in self.faults:
            if self._wait_until(self._start + fault.at):
                break
            self._do(fault)
        while self._ends and not self._wait_until(min(end for end, _ in self._ends)):
            continue
        # Whatever happens, nothing stays broken by us.
        for _, end in self._ends:
            end()

    def _wait_until(self, moment: float) -> bool:
        """Waits, ending what is to end meanwhile; True where all is to stop."""
        while True:
            now = time.monotonic()
            for due in [each for each in self._ends if each[0] <= now]:
                self._ends.remove(due)
                due[1]()
            if now >= moment:
                return self._over.is_set()
            coming = min([moment, *(end for end, _ in self._ends)])
            if self._over.wait(max(coming - now, 0.0)):
                return True

    def _do(self, fault: Fault) -> None:
        chance = random.Random(fault.seed)
        actions: Mapping[Kind, Callable[[random.Random], bool]] = {
            Kind.CHILD: self._kill_child,
            Kind.WORKER: self._kill_worker,
            Kind.ALL_WORKERS: self._kill_all,
            Kind.STOPPED: self._stop_then_kill,
            Kind.BROKER_SHORT: lambda chance: self._broker(chance, Kind.BROKER_SHORT, _SHORT_OUTAGE_SECONDS),
            Kind.BROKER_LONG: lambda chance: self._broker(chance, Kind.BROKER_LONG, LONG_OUTAGE_SECONDS),
            Kind.BROKER_WIPED: lambda chance: self._broker(chance, Kind.BROKER_WIPED, 1.0, wipe=True),
            Kind.BACKEND: lambda _: self._restart(Kind.BACKEND, "backend", (STAGE_POOLS[0],)),
            Kind.AGGREGATOR: lambda _: self._restart(Kind.AGGREGATOR, "aggregator", (STAGE_POOLS[-1],)),
            Kind.PUBLISHER: lambda _: self._restart(Kind.PUBLISHER, "publisher", (PUBLISH,)),
            Kind.UNAVAILABLE: lambda _: self._mood(Kind.UNAVAILABLE, Mood.UNAVAILABLE),
            Kind.TOO_MANY: lambda _: self._mood(Kind.TOO_MANY, Mood.TOO_MANY),
            Kind.RESET: lambda _: self._mood(Kind.RESET, Mood.RESET),
            Kind.LATE: lambda _: self._mood(Kind.LATE, Mood.LATE),
            Kind.DISK_FULL: self._fill_disk,
            Kind.TRUNCATED: lambda chance: self._spoil(Kind.TRUNCATED, self._damage.truncate, chance),
            Kind.FLIPPED: lambda chance: self._spoil(Kind.FLIPPED, self._damage.flip, chance),
            Kind.CLOCK: self._move_clock,
            Kind.DEPLOY: self._deploy,
        }
        if actions[fault.kind](chance):
            self.done.append(fault)

    def _kill_child(self, chance: random.Random) -> bool:
        children = self._children(WORKERS)
        if not children:
            return False
        busy = self._aim(set(children))
        pid = busy if busy is not None else chance.choice(sorted(children))
        self._kill(Kind.CHILD, [pid], {children[pid]})
        return True

    def _kill_worker(self, chance: random.Random) -> bool:
        mains = {name: pid for name, pid in self.supervisor.pids(settled=True).items() if name in WORKERS}
        if not mains:
            return False
        name = chance.choice(sorted(mains))
        self._kill(Kind.WORKER, [mains[name]], {name})
        return True

    def _kill_all(self, _chance: random.Random) -> bool:
        mains = {name: pid for name, pid in self.supervisor.pids().items() if name in WORKERS}
        family = [*self._children(WORKERS), *mains.values()]
        self._kill(Kind.ALL_WORKERS, family, set(mains))
        return bool(mains)

    def _stop_then_kill(self, chance: random.Random) -> bool:
        """An idle worker that is stopped has its wish for a message standing at the broker: what is sent to it is lost."""
        mains = {name: pid for name, pid in self.supervisor.pids(settled=True).items() if name in STAGE_POOLS}
        busy = {place.pid for place in self.watch.look().runs.values()}
        idle = sorted(name for name, pid in mains.items() if not busy & set(_children_of(pid)))
        if not idle:
            return False
        name = chance.choice(idle)
        family = [mains[name], *_children_of(mains[name])]
        for pid in family:
            _signal(pid, signal.SIGSTOP)
        self._later(_STOPPED_SECONDS, lambda: self._kill(Kind.STOPPED, family, {name}))
        return True

    def _deploy(self, _chance: random.Random) -> bool:
        mains = {name: pid for name, pid in self.supervisor.pids().items() if name in FLEET_WORKERS}
        for pid in mains.values():
            _signal(pid, signal.SIGTERM)
        self.watch.expect(Kind.DEPLOY, _measurable(mains), {}, self.watch.look())
        return bool(mains)

    def _broker(self, chance: random.Random, kind: Kind, seconds: float, *, wipe: bool = False) -> bool:
        """The fleet's broker twice as often as the network's."""
        name = chance.choice(["broker", "broker", "network-broker"])
        pid, hold = self.supervisor.pids().get(name), self.ground.holds[name]
        if pid is None or hold.exists():
            return False
        hold.touch()
        _signal(pid, signal.SIGKILL)
        if wipe:
            _wipe(self.ground.broker_folders[name])
        pools = STAGE_POOLS if name == "broker" else (AGGREGATE, PUBLISH)

        def end() -> None:
            hold.unlink(missing_ok=True)
            self.watch.broker_is_back(pools)
            self.watch.expect(kind, pools, {}, self.watch.look())

        self._later(seconds, end)
        return True

    def _restart(self, kind: Kind, name: str, pools: Collection[str]) -> bool:
        pid = self.supervisor.pids(settled=True).get(name)
        if pid is None:
            return False
        _signal(pid, signal.SIGKILL)
        self.watch.expect(kind, pools, {}, self.watch.look())
        return True

    def _mood(self, kind: Kind, mood: Mood) -> bool:
        proxy = self.ground.proxy
        if proxy.mood is not Mood.HONEST:
            return False
        proxy.mood = mood

        def end() -> None:
            proxy.mood = Mood.HONEST
            self.watch.expect(kind, (STAGE_POOLS[-1],), {}, self.watch.look())

        self._later(_MOOD_SECONDS, end)
        return True

    def _fill_disk(self, _chance: random.Random) -> bool:
        if not self.ground.own_file_system:
            self.skipped[Kind.DISK_FULL] = (
                "this user may not mount a file system, and filling the real disk is no option"
            )
            return False
        filler = self.ground.fleet_home / "artifacts" / _FILLER
        with suppress(OSError), filler.open("wb") as sink:
            while True:
                sink.write(b"\0" * 65536)
                sink.flush()

        def end() -> None:
            filler.unlink(missing_ok=True)
            self.watch.expect(Kind.DISK_FULL, STAGE_POOLS, {}, self.watch.look())

        self._later(_FULL_SECONDS, end)
        return True

    def _spoil(self, kind: Kind, spoil: Callable[[random.Random], str | None], chance: random.Random) -> bool:
        run_id, until = spoil(chance), time.monotonic() + _AIM_SECONDS
        while run_id is None and time.monotonic() < until and not self._over.wait(0.1):
            run_id = spoil(chance)
        if run_id is None:
            return False
        view = self.watch.look()
        self.watch.expect(kind, (), {run_id: view.runs[run_id]}, view)
        return True

    def _move_clock(self, chance: random.Random) -> bool:
        self.ground.clock.write_text(str(chance.choice(_CLOCK_OFFSETS)))

        def end() -> None:
            self.ground.clock.write_text("0")
            self.watch.expect(Kind.CLOCK, STAGE_POOLS, {}, self.watch.look())

        self._later(_CLOCK_SECONDS, end)
        return True

    def _later(self, seconds: float, end: Callable[[], None]) -> None:
        self._ends.append((time.monotonic() + seconds, end))

    def _kill(self, kind: Kind, pids: Collection[int], names: Collection[str]) -> None:
        """Kills, and then sees which runs those processes held: a look before would be old by then."""
        for pid in pids:
            _signal(pid, signal.SIGKILL)
        view = self.watch.look()
        self.watch.expect(kind, _measurable(names), _held_by(view, pids), view)

    def _aim(self, pids: Collection[int]) -> int | None:
        """A child that is at work on a run right now."""
        until = time.monotonic() + _AIM_SECONDS
        while time.monotonic() < until and not self._over.is_set():
            for place in self.watch.look().runs.values():
                if place.pid in pids:
                    return place.pid
            time.sleep(0.01)
        return None

    def _children(self, names: Collection[str]) -> dict[int, str]:
        """The pool children of the named workers: process ids to names."""
        pids = {name: pid for name, pid in self.supervisor.pids(settled=True).items() if name in names}
        return {child: name for name, pid in pids.items() for child in _children_of(pid)}


def _measurable(names: Collection[str]) -> list[str]:
    """The pools whose movement can be seen; what the skewed worker takes, others take too, control and verify move no run."""
    return sorted(name for name in names if name not in (SKEWED, CONTROL, VERIFY))


def _held_by(view: View, pids: Collection[int]) -> dict[str, Place]:
    return {run_id: place for run_id, place in view.runs.items() if place.pid in pids}


def _children_of(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        psutil.Process(pid).send_signal(number)


def _wipe(folder: Path) -> None:
    """Everything that the broker wrote; its configuration stays."""
    for path in folder.iterdir():
        if path.name in ("broker.conf", "url"):
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
