"""Breaks of the public API are found, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.laws.breaks import main

OLD = '''
"""A package."""
from sample.load import load, stop
from sample.kinds import Kind
__all__ = ["Gone", "Kind", "Old", "load", "stop"]
class Gone: ...
class Old: ...
class Inner: ...
'''
NEW = """
from sample.load import load, stop
from sample.kinds import Kind
__all__ = ["Kind", "load", "stop"]
def __getattr__(name):
    if name == "Old":
        return Kind
    raise AttributeError(name)
"""
LOAD = "__all__ = ['load', 'stop']\ndef load(path, *, rate=1): ...\ndef stop(): ...\ndef inner(): ...\n"
KIND = "__all__ = ['Kind']\nclass Kind:\n    name: str\n    def keep(self): ...\n    def __repr__(self): ...\n"


@pytest.fixture(name="repository")
def _repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository with a package that can be imported, and one commit."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "sample", raising=False)
    git(tmp_path, "init", "--quiet")
    write(tmp_path, OLD, LOAD, KIND)
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=A", "-c", "user.email=a@b.test", "commit", "--quiet", "-m", "One")
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    """Run git in *folder*."""
    subprocess.run(["git", *arguments], cwd=folder, check=True)


def write(folder: Path, package: str, load: str, kinds: str) -> None:
    """Write the files of the package."""
    (folder / "sample").mkdir(exist_ok=True)
    for name, text in (("__init__", package), ("load", load), ("kinds", kinds)):
        (folder / "sample" / f"{name}.py").write_text(text, encoding="utf-8")


def test_breaks(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name, a member and a parameter that are gone are breaks; inner and old names and generated methods are not."""
    assert main(["HEAD"], repository, "sample") == 0
    assert capsys.readouterr().out == "0 breaks since HEAD\n"
    write(
        repository,
        NEW,
        LOAD.replace("path", "file").replace("def inner(): ...\n", ""),
        "__all__ = ['Kind']\nclass Kind: ...\n",
    )
    assert main(["HEAD"], repository, "sample") == 1
    *lines, count = capsys.readouterr().out.splitlines()
    assert sorted(line.partition(" ")[2] for line in lines) == [
        "Gone: Public object was removed",
        "Kind.keep: Public object was removed",
        "Kind.name: Public object was removed",
        "load(file): Parameter was added as required",
        "load(path): Parameter was removed",
    ]
    assert count == "5 breaks since HEAD"


def test_newest_tag(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a revision the newest tag is taken; without a tag, and for an unknown revision, a sentence says so."""
    assert main([], repository, "sample") == 2
    assert capsys.readouterr().err == "There is no tag to compare with: name a revision\n"
    assert main(["v9"], repository, "sample") == 2
    assert capsys.readouterr().err == "There is no revision v9\n"
    git(repository, "tag", "v1")
    assert main([], repository, "sample") == 0
    assert capsys.readouterr().out == "0 breaks since v1\n"
