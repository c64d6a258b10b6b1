"""What the repository and the wheel hold."""

from __future__ import annotations

import email.parser
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

from cdp_orders_async import __version__

ROOT = Path(__file__).parents[2]
TOP = {"CHANGELOG.md", "README.md", "benchmarks", "cdp_orders_async", "pyproject.toml", "tests"}


@pytest.fixture(name="dist", scope="module")
def _dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(name="wheel", scope="module")
def _wheel(dist: Path) -> ZipFile:
    return ZipFile(next(dist.glob("*.whl")))


def build(project: Path, dist: Path, *targets: str) -> Path:
    """Build the source distribution and the wheel of *project*, or only *targets*, into *dist*."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(dist)]
    subprocess.run([*command, *(f"--target={one}" for one in targets)], cwd=project, check=True, capture_output=True)
    return dist


@pytest.fixture(name="tracked", scope="module")
def _tracked() -> list[str]:
    if not (ROOT / ".git").exists():  # a source distribution: what it holds, and what it says of itself
        names = (str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file())
        return [name for name in names if not re.search(r"^(\.|PKG-INFO$)|__pycache__", name)]
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [name for name in listed.stdout.split("\0") if (ROOT / name).is_file()]


@pytest.fixture(name="texts", scope="module")
def _texts(tracked: list[str]) -> dict[str, str]:
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in tracked if not name.endswith(".gz")}


def test_wheel_holds_types_and_data(wheel: ZipFile) -> None:
    """The wheel has the type marker, the sample orders, the templates of reports and pages, and no tests."""
    names = set(wheel.namelist())
    data = {"py.typed", "data/orders-50.jsonl.gz", "data/ORIGIN.txt"}
    pages = (ROOT / "cdp_orders_async" / "emulator" / "pages").glob("[!_]*/*")
    data |= {str(path.relative_to(ROOT / "cdp_orders_async")) for path in pages}
    assert {"emulator/pages/templates/order.html", "emulator/pages/static/pages.css"} <= data
    data |= {f"reports/templates/{name}" for name in ("report.html.jinja", "chart.html.jinja", "report.css")}
    assert {f"cdp_orders_async/{name}" for name in data} - names == set()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"cdp_orders_async"}


def test_source_distribution(dist: Path, tracked: list[str], tmp_path: Path) -> None:
    """The source distribution has all tracked files, and builds the same wheel; both are small."""
    with tarfile.open(next(dist.glob("*.tar.gz"))) as packed:
        packed.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    names = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert set(tracked) - names == set()
    wheel = next(dist.glob("*.whl"))
    assert (build(unpacked, tmp_path / "again", "wheel") / wheel.name).read_bytes() == wheel.read_bytes()
    assert max(path.stat().st_size for path in dist.iterdir()) < 2_000_000


def test_metadata_is_right_for_an_index(dist: Path) -> None:
    """An index takes both, and shows the front page."""
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, dist.iterdir())]
    checked = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout.count("PASSED")) == (0, 2), checked.stdout


def test_version_is_the_changelogs_newest(wheel: ZipFile) -> None:
    """The version of the wheel, and of the package in it, is that of the newest release in the changelog."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases: list[str] = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", changelog, re.MULTILINE)
    metadata = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    assert email.parser.BytesParser().parsebytes(wheel.read(metadata))["Version"] == releases[0] == __version__


def test_top_level_is_the_layout(tracked: list[str]) -> None:
    """The repository has these entries at its top, and otherwise only dotfiles."""
    top = {name.partition("/")[0] for name in tracked}
    assert {name for name in top if not name.startswith(".")} == TOP


def test_no_path_of_a_machine(texts: dict[str, str]) -> None:
    """No tracked file names a folder of the machine that it was written on."""
    machine = re.compile(r"(?<![\w.~-])/(?:home|root|work|Users)/")
    assert [name for name, text in texts.items() if machine.search(text)] == []


def test_files_stay_readable(texts: dict[str, str]) -> None:
    """No text file is longer than 500 lines, but for what is kept as others published it."""
    assert [name for name, text in texts.items() if text.count("\n") > 500 and "tests/data/" not in name] == []
