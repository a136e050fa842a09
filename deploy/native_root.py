"""One service's process in a root of its own, as its container would have it: run inside a fresh mount namespace.

A tmpfs with this machine's programs read-only, the service's mounts, secrets and tmpfs where compose.yaml puts them, then read-only
itself; and the process as the service's user, without capabilities, with the service's environment and nothing else.

    unshare --mount python -m deploy.native_root SPEC.json
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

#: What an image brings: programs, libraries, names.
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/opt")


def mount(*arguments: str) -> None:
    """mount(8), whose complaint is the error."""
    subprocess.run(["mount", *arguments], check=True)


def build(root: Path, spec: dict[str, Any]) -> None:
    """Makes the root folder's tree."""
    root.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", "mode=0755", "none", str(root))
    for place in _SYSTEM:
        _system(root, Path(place))
    for place in ("/dev", "/proc"):
        (root / place[1:]).mkdir()
        mount("--rbind", place, str(root / place[1:]))
    for source, target in spec["image"].items():
        _bind(root, Path(source), target, writable=False)
    for target, owner in spec["folders"].items():
        _folder(root, target)
        os.chown(root / target[1:], *owner)
    (root / "var").mkdir(exist_ok=True)
    (root / "var" / "run").symlink_to("/run")
    # From the outside in: a secret lies in a folder that is there.
    for entry in sorted(spec["mounts"], key=lambda entry: len(Path(entry["target"]).parts)):
        if entry["source"] is None:
            _folder(root, entry["target"])
            options = ["-o", entry["options"]] if entry["options"] else []
            mount("-t", "tmpfs", *options, "none", str(root / entry["target"][1:]))
        else:
            _bind(root, Path(entry["source"]), entry["target"], writable=entry["writable"])
    if spec["read_only"]:
        mount("-o", "remount,ro,mode=0755", str(root))


def enter(root: Path, spec: dict[str, Any]) -> None:
    """Becomes the process."""
    user, group = spec["user"]
    setpriv = ["setpriv", "--reuid", str(user), "--regid", str(group), "--clear-groups", "--no-new-privs"]
    bounds = ["--bounding-set=-all", "--inh-caps=-all"]
    os.chroot(root)
    os.chdir("/")
    command = [*setpriv, *bounds, "--", *spec["command"]]
    os.execvpe(command[0], command, spec["environment"])  # noqa: S606 (our own command line)


def _system(root: Path, place: Path) -> None:
    if place.is_symlink():
        (root / place.name).symlink_to(os.readlink(place))
    elif place.is_dir():
        _bind(root, place, str(place), writable=False)


def _bind(root: Path, source: Path, target: str, *, writable: bool) -> None:
    inside = root / target[1:]
    if source.is_dir():
        _folder(root, target)
    elif not inside.exists():
        _folder(root, str(Path(target).parent))
        inside.touch()
    mount("--bind", str(source), str(inside))
    if not writable:
        mount("-o", "remount,ro,bind", str(inside))


def _folder(root: Path, target: str) -> None:
    (root / target[1:]).mkdir(parents=True, exist_ok=True)


if __name__ == "__main__":
    specification = json.loads(Path(sys.argv[1]).read_text())
    place = Path(sys.argv[1]).with_suffix("")
    build(place, specification)
    socket.sethostname(specification["hostname"])
    enter(place, specification)
