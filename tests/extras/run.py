"""Each extra alone, from the wheel, in an environment of its own: ``python -m tests.extras.run [EXTRA ...]``.

Builds the source distribution, and the wheel from it. For each extra, and for none, it makes an empty environment,
installs the wheel with that extra by pip, and runs the program that uses it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
from pathlib import Path

from tests.extras.programs import EXTRAS, NONE, ROOT, arguments, program, warnings_of

NAMES = (NONE, *EXTRAS)


def built(folder: Path) -> Path:
    """Return the wheel that the source distribution builds."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder), "--target"]
    subprocess.run([*command, "sdist"], cwd=ROOT, check=True, capture_output=True)
    with tarfile.open(next(folder.glob("*.tar.gz"))) as packed:
        packed.extractall(folder, filter="data")
    unpacked = next(path for path in folder.iterdir() if path.is_dir())
    subprocess.run([*command, "wheel"], cwd=unpacked, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def used(extra: str, wheel: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Install *wheel* with *extra* into a new environment in *folder*, and run its program there."""
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    project = f"cdp-orders-async{'' if extra == NONE else f'[{extra}]'} @ {wheel.as_uri()}"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-qq", project]
    subprocess.run(install, check=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    with arguments(extra, folder) as given:
        command = [str(python), "-I", "-W", warnings_of(extra), str(program(extra)), *given]
        return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)


def main() -> int:
    """Try the extras that are named, by default all; return the exit status: 1 if one does not work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("extras", nargs="*", metavar="EXTRA", help=f"of {', '.join(NAMES)} (default: all)")
    named: list[str] = parser.parse_args().extras or list(NAMES)
    if unknown := sorted(set(named) - set(NAMES)):
        parser.error(f"no such extra: {', '.join(unknown)}")
    broken = 0
    with tempfile.TemporaryDirectory() as name:
        wheel = built(Path(name))
        for extra in named:
            began = time.monotonic()
            ran = used(extra, wheel, Path(name) / extra)
            said = "works" if ran.returncode == 0 else f"does not work:\n{ran.stderr}"
            sys.stdout.write(f"{extra:12}{time.monotonic() - began:6.1f} s  {said}\n")
            sys.stdout.flush()
            broken += ran.returncode != 0
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
