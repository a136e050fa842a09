"""deploy/Dockerfile as far as it can be read without an engine: its stages, what it copies, and the wheel made of just that."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pathspec
import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text().replace("\\\n", " ")
STAGES = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)


def copied() -> list[str]:
    """What comes from the build's context."""
    lines = [line.split()[1:] for line in re.findall(r"^COPY (?!--from).*$", DOCKERFILE, re.MULTILINE)]
    return [source for *sources, _target in lines for source in sources]


def let_through(path: str) -> bool:
    """Whether .dockerignore lets the path into the context; a later line wins, as in git."""
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    return not pathspec.GitIgnoreSpec.from_lines(patterns).match_file(path)


def test_both_flavours_are_stages() -> None:
    assert {"cpu", "cuda"} <= set(STAGES)


def test_every_stage_that_is_named_is_there() -> None:
    named = re.findall(r"(?:--from=|--mount=from=)([\w-]+)", DOCKERFILE)
    assert set(named) <= set(STAGES)


def test_both_flavours_have_warm_kernels_and_are_not_root() -> None:
    for flavour in ("cpu", "cuda"):
        body = DOCKERFILE.partition(f" AS {flavour}\n")[2].partition("\nFROM ")[0]
        assert "RUN flfleet warmup" in body
        assert body.index("USER 10001:10001") < body.index("RUN flfleet warmup")


@pytest.mark.parametrize("source", copied())
def test_what_is_copied_is_there_and_not_ignored(source: str) -> None:
    path = ROOT / source
    assert path.exists()
    files = [path] if path.is_file() else list(path.rglob("*.py"))
    assert any(let_through(str(file.relative_to(ROOT))) for file in files)


@pytest.mark.parametrize("path", ["fleet/keys/ward-7.json", "secrets/broker_url", "fleet/data/x.npy", ".git/config"])
def test_keys_data_and_history_cannot_come_into_an_image(path: str) -> None:
    assert not let_through(path)


def test_the_wheel_of_what_is_copied_holds_every_module_and_what_they_read(tmp_path: Path) -> None:
    source, made = tmp_path / "source", tmp_path / "made"
    for name in copied():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            source.mkdir(exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(made), str(source)]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True, capture_output=True)
    (wheel,) = made.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(source)) for name in copied() for path in (source / name).rglob("*.py")}
    assert modules <= names
    for wanted in ("network/web/style.css", "pipeline/stores/db/migrations/script.py.mako", "beat_schedule.py"):
        assert wanted in names
