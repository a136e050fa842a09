"""One service of compose.yaml as a process of this machine: started, asked for its health, stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.compose_file import Mount, Service

FLFLEET_USER = (10001, 10001)
#: What the images of deploy/Dockerfile, redis and postgres have of their own, and whose it is.
IMAGE_FOLDERS = {
    "flfleet": dict.fromkeys(("/fleet", "/fleet/run", "/fleet/artifacts", "/fleet/cache"), FLFLEET_USER),
    "redis": {"/data": (999, 1000)},
    "postgres": {"/var/lib/postgresql/data": (70, 70)},
}
#: The entry point of the postgres image, as far as it matters here.
_POSTGRES = """
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb -D "$PGDATA" -U "$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" -A trust --auth-host=scram-sha-256 -E UTF8 >/dev/null
    pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start >/dev/null
    for file in /docker-entrypoint-initdb.d/*.sql; do psql -q -U "$POSTGRES_USER" -d postgres -v ON_ERROR_STOP=1 -f "$file"; done
    pg_ctl -D "$PGDATA" -m fast -w stop >/dev/null
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
fi
exec "$@" -c listen_addresses='*'
"""
_SHIM = "#!/bin/sh\nexec {python} -c 'from cli.main import main; main()' \"$@\"\n"


class Stage:
    """What all services share: the state's folder, names, programs."""

    def __init__(self, state: Path, code: Path, names: Sequence[str]) -> None:
        self.state = state
        self._code = code
        for folder in ("specs", "logs", "volumes", "etc", "shims"):
            (state / folder).mkdir()
        # Owners alone may enter `volumes` and what is beside it; the services get theirs mounted.
        state.chmod(0o711)
        hosts = "".join(f"127.0.0.1 {name}\n" for name in ("localhost", *names))
        (state / "etc" / "hosts").write_text(hosts)
        users = "postgres:x:70:70::/:/bin/sh\nredis:x:999:1000::/:/bin/sh\nflfleet:x:10001:10001::/:/bin/sh\n"
        (state / "etc" / "passwd").write_text("root:x:0:0:root:/:/bin/sh\n" + users)
        shim = state / "shims" / "flfleet"
        shim.write_text(_SHIM.format(python=sys.executable))
        shim.chmod(0o755)
        subprocess.run(["mount", "--bind", str(state / "etc" / "hosts"), "/etc/hosts"], check=True)

    def warm(self) -> None:
        """Does what the Dockerfile does: compiles kernels into the image's cache, with which new volumes begin."""
        cache = self.state / "image-cache"
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(self._code), "FLFLEET_CACHE_DIR": str(cache)}
        subprocess.run(
            [str(self.state / "shims" / "flfleet"), "warmup"],
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def start(self, service: Service, number: int) -> "Running":
        """Starts one replica."""
        name = f"{service.name}-{number}"
        spec = self.state / "specs" / f"{name}.json"
        spec.write_text(json.dumps(self._specification(service, name)))
        log = self.state / "logs" / f"{name}.log"
        command = ["unshare", "--mount", "--uts", sys.executable, "-m", "deploy.native_root", str(spec)]
        with log.open("w") as sink:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, cwd=self._code, start_new_session=True
            )
        return Running(service, name, process, log, self._environment(service))

    def _specification(self, service: Service, name: str) -> dict[str, object]:
        kind = _kind(service)
        etc = self.state / "etc"
        mounts = [self._mount(mount, service) for mount in service.mounts]
        mounts += [
            {"source": str(etc / file), "target": f"/etc/{file}", "writable": False, "options": ""}
            for file in ("hosts", "passwd")
        ]
        image = {str(self._code): "/app", str(self.state / "shims"): "/shims"}
        image |= {place: place for place in (sys.prefix, sys.base_prefix) if not place.startswith("/usr")}
        return {
            "hostname": name,
            "image": image,
            "folders": IMAGE_FOLDERS[kind],
            "mounts": mounts,
            "read_only": service.read_only,
            "user": service.user,
            "environment": self._environment(service),
            "command": _command(service),
        }

    def _environment(self, service: Service) -> dict[str, str]:
        """What the image and the file give a process, and nothing of ours."""
        postgres = sorted(str(path) for path in Path("/usr/lib/postgresql").glob("*/bin"))[-1:]
        path = ":".join(
            [*postgres, "/shims", f"{sys.prefix}/bin", "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
        )
        return {"PATH": path, "HOME": "/tmp", "PYTHONPATH": "/app", "LC_ALL": "C.UTF-8", **service.environment}  # noqa: S108

    def _mount(self, mount: Mount, service: Service) -> dict[str, object]:
        source = mount.source
        if source is not None and "/" not in source:
            source = str(self._volume(source, mount.target, service))
        return {"source": source, "target": mount.target, "writable": mount.writable, "options": mount.options}

    def _volume(self, name: str, target: str, service: Service) -> Path:
        """A named volume; a new one begins with what the image has there, and belongs to whom it belongs there."""
        folder = self.state / "volumes" / name
        if not folder.exists():
            if target == "/fleet/cache":
                shutil.copytree(self.state / "image-cache", folder)
            else:
                folder.mkdir()
            owner = IMAGE_FOLDERS[_kind(service)][target]
            for path in (folder, *folder.rglob("*")):
                os.chown(path, *owner)
        return folder


class Running:
    """A replica of a service."""

    def __init__(
        self,
        service: Service,
        name: str,
        process: subprocess.Popen[bytes],
        log: Path,
        environment: Mapping[str, str],
    ) -> None:
        self.service, self.name, self.log = service, name, log
        self.stop_seconds: float | None = None
        self._process, self._environment = process, environment
        self._asked_at: float | None = None

    def fell(self) -> bool:
        """Whether it ended although it should run, or failed."""
        code = self._process.poll()
        return code is not None and (code != 0 or self.service.health is not None)

    def wait_until_done(self) -> None:
        """Waits for a service that does one thing and ends; it has to succeed."""
        if self._process.wait(240) != 0:
            raise SystemExit(f"{self.name} failed; see {self.log}\n{self.last_words()}")

    def wait_until_healthy(self) -> str:
        """Asks as an engine does, without its patience between; empty, or what the last check said."""
        health = self.service.health
        assert health is not None, self.name
        end = time.monotonic() + health.start_period + health.retries * health.interval + 60
        complaint = "it was never asked"
        while time.monotonic() < end and not self.fell():
            complaint = self._check(health.command, health.timeout)
            if not complaint:
                return ""
            time.sleep(1)
        return complaint + ("\n" + self.last_words() if self.fell() else "")

    def _check(self, command: Sequence[str], timeout: float) -> str:
        user, group = self.service.user
        inside = ["nsenter", "--target", str(self._process.pid), "--mount", "--uts", "--root", "--wd"]
        become = ["setpriv", "--reuid", str(user), "--regid", str(group), "--clear-groups", "--"]
        try:
            done = subprocess.run(
                [*inside, *become, *command],
                env={**self._environment},
                capture_output=True,
                text=True,
                check=False,
                # Thirty services start at once on two cores here, and each check is a process.
                timeout=timeout * 3,
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {timeout * 3:g} s"
        return "" if done.returncode == 0 else (done.stderr or done.stdout or f"exit code {done.returncode}").strip()

    def ask_to_stop(self) -> None:
        """Sends the service's signal."""
        if self._process.poll() is None:
            self._asked_at = time.monotonic()
            self._process.send_signal(signal.Signals[self.service.stop_signal])

    def is_stopped(self) -> bool:
        """Whether it has ended since it was asked, or before."""
        if self._process.poll() is None:
            return False
        if self._asked_at is not None and self.stop_seconds is None:
            self.stop_seconds = round(time.monotonic() - self._asked_at, 1)
        return True

    def kill(self) -> None:
        """Ends it, and what it started."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


def stop(running: Sequence[Running]) -> list[str]:
    """Asks all to end and waits for each its grace period; kills what is left, and says of each that it was."""
    for one in running:
        one.ask_to_stop()
    began = time.monotonic()
    left = [*running]
    late = []
    while left:
        time.sleep(0.1)
        left = [one for one in left if not one.is_stopped()]
        for one in [one for one in left if time.monotonic() > began + one.service.stop_seconds]:
            late.append(f"{one.name} did not end within {one.service.stop_seconds:g} s of {one.service.stop_signal}")
            one.kill()
    return late


def _kind(service: Service) -> str:
    return "flfleet" if service.is_own else service.image.partition(":")[0]


def _command(service: Service) -> list[str]:
    if service.is_own:
        return ["/shims/flfleet", *service.command]
    if _kind(service) == "postgres":
        return ["/bin/sh", "-c", _POSTGRES, "postgres", *service.command]
    return [*service.command]
