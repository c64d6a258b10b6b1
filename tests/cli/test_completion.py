"""The scripts with which shells complete the commands."""

from __future__ import annotations

import contextlib
import io
import subprocess
from pathlib import Path

import pytest

from cdp_orders_async.cli import main

COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
function=$(complete -p cdp-orders | sed 's/.*-F \\([^ ]*\\).*/\\1/')
"$function" cdp-orders "${!#}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(name="script", scope="module")
def _script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the file of the script for bash."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["completion", "bash"]) == 0
    path = tmp_path_factory.mktemp("completion") / "cdp-orders.bash"
    path.write_text(out.getvalue(), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("co",), "completion config consumers contacts"),
        (("orders", ""), "create delete get list replace update"),
        (("item-extensions", "delete"), "delete delete-fields"),
        (("orders", "list", "--re"), "--reference-id --region"),
        (("load", "--prof"), "--profile"),
        (("completion", ""), "bash fish zsh"),
    ],
)
def test_bash_completes(script: Path, words: tuple[str, ...], expected: str) -> None:
    """In bash, commands, their verbs, options and choices are completed."""
    ran = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE, "bash", str(script), "cdp-orders", *words],
        check=True,
        capture_output=True,
        text=True,
    )
    assert set(ran.stdout.split()) == set(expected.split())
    assert ran.stderr == ""


@pytest.mark.parametrize(("shell", "word"), [("zsh", "#compdef cdp-orders"), ("fish", "complete -c cdp-orders")])
def test_other_shells(capsys: pytest.CaptureFixture[str], shell: str, word: str) -> None:
    """The scripts of the other shells name the command and its verbs."""
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert word in text
    assert "delete-fields" in text


def test_an_unknown_shell(capsys: pytest.CaptureFixture[str]) -> None:
    """Another shell is refused in a sentence that names those that there are."""
    assert main(["completion", "tcsh"]) == 2
    assert 'Choose from: "bash", "zsh", "fish"' in capsys.readouterr().err
