"""Profiles: where each setting comes from, and what is refused of their file and of the token's command."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import orjson
import pytest

from cdp_orders_async import cli
from cdp_orders_async.cli import main, options, profiles
from cdp_orders_async.cli.options import Connection
from cdp_orders_async.emulator import Emulator, in_thread
from tests.cli.support import TOKEN, Json, environment, orders, write
from tests.servers import serving

FILE = """
[profiles.production]
region = "eu"
client_key = "K"
api_token_command = "pass show cdp"
rate = 50
connections = 7
http = "httptools"
timeout = 3.5
deadline = 60
api = "v2"
"""
NOBODY = "00000000-0000-0000-0000-000000000001"


@pytest.fixture(name="file")
def _file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the config file, in a folder of its own, where no variable of the client's is set."""
    for name in set(os.environ) - environment({}).keys():
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "config.toml"
    monkeypatch.setenv("CDP_CONFIG", str(file))
    return written(file, FILE)


def written(file: Path, text: str, rights: int = 0o600) -> Path:
    """Write the config file."""
    file.write_text(text, encoding="utf-8")
    file.chmod(rights)
    return file


def settings(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, tuple[object, str]]:
    """Return each setting that config shows, with its source."""
    assert main(["config", "--json", *words]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    shown: Json = orjson.loads(told.out)
    return {name: (row["value"], row["source"]) for name, row in shown["settings"].items()}


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the one sentence in which a command is refused."""
    assert main(words) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("cdp-orders: ")
    assert told.err.count("\n") == 1
    assert "canary" not in told.err
    return told.err


def test_option_then_variable_then_profile_then_default(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each setting has its value from the first of the four that gives it, and config says from which."""
    origin = f"profile production of {file}"
    monkeypatch.setenv("CDP_RATE", "9")
    monkeypatch.setenv("CDP_CONNECTIONS", "8")
    monkeypatch.setenv("CDP_RETRIES", "5")
    found = settings(capsys, "--profile", "production", "--connections", "2")
    assert found["profile"] == ("production", "option")
    assert found["connections"] == (2, "option")
    assert found["rate"] == (9, "CDP_RATE")
    assert found["retries"] == (5, "CDP_RETRIES")
    assert found["burst"] == (1, "default")
    assert found["base_url"] == (None, "default")
    for name, value in {"region": "eu", "client_key": "K", "http": "httptools", "timeout": 3.5, "api": "v2"}.items():
        assert found[name] == (value, origin)
    monkeypatch.setenv("CDP_PROFILE", "production")
    assert settings(capsys)["profile"] == ("production", "CDP_PROFILE")
    assert settings(capsys)["deadline"] == (60, origin)
    monkeypatch.delenv("CDP_PROFILE")
    assert settings(capsys)["deadline"] == (120, "default")


def test_one_of_several_decides_for_all(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A place, or a token, by an option or a variable is not mixed with the one of the profile."""
    assert file.exists()
    monkeypatch.setenv("CDP_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("CDP_API_TOKEN_FILE", "token")
    written(file.with_name("token"), "canary")
    found = settings(capsys, "--profile", "production")
    assert found["base_url"] == ("http://127.0.0.1:9", "CDP_BASE_URL")
    assert found["api_token_file"] == ("token", "CDP_API_TOKEN_FILE")
    assert found["region"] == found["api_token_command"] == (None, "default")
    found = settings(capsys, "--profile", "production", "--region", "us", "--api-token-command", "x")
    assert found["region"] == ("us", "option")
    assert found["base_url"] == found["api_token_file"] == (None, "default")
    monkeypatch.delenv("CDP_API_TOKEN_FILE")
    monkeypatch.setenv("CDP_BEARER_TOKEN", "canary")
    found = settings(capsys, "--profile", "production")
    assert found["bearer_token"] == ("***", "CDP_BEARER_TOKEN")
    assert found["client_key"] == found["api_token_command"] == (None, "default")


def test_a_bearer_token_of_the_environment_counts_before_a_key(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command authenticates as a client in Python does; a key or a token of the command line counts before both."""
    assert file.exists()
    for name in ("CLIENT_KEY", "API_TOKEN", "BEARER_TOKEN"):
        monkeypatch.setenv(f"CDP_{name}", f"canary-{name}")
    for words in ([], ["--profile", "production"]):
        found = settings(capsys, *words)
        assert found["bearer_token"] == ("***", "CDP_BEARER_TOKEN")
        assert found["client_key"] == found["api_token"] == (None, "default")
    found = settings(capsys, "--client-key", "k")
    assert "bearer_token" not in found
    assert (found["client_key"], found["api_token"]) == (("k", "option"), ("***", "CDP_API_TOKEN"))


@pytest.mark.parametrize(("words", "scheme"), [([], "Bearer"), (["--client-key", "k"], "Basic")])
async def test_the_credentials_that_a_command_sends(
    monkeypatch: pytest.MonkeyPatch, words: list[str], scheme: str
) -> None:
    """They are those that config shows."""
    for name in ("CLIENT_KEY", "API_TOKEN", "BEARER_TOKEN"):
        monkeypatch.setenv(f"CDP_{name}", f"canary-{name}")
    async with serving() as server:
        await asyncio.to_thread(main, ["orders", "list", "--reference-id", "A", "--base-url", server.url, *words])
    assert server.requests[0].headers["authorization"].partition(" ")[0] == scheme


def test_secrets_are_masked(file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a token, nor a proxy with its password, nor the arguments of the token's command are shown."""
    written(file, '[profiles.p]\napi_token = "canary-token"\n')
    monkeypatch.setenv("CDP_PROXY", "http://user:canary@127.0.0.1:1")
    for words in (["--profile", "p"], ["--api-token", "canary"], ["--api-token-command", "vault canary"]):
        for form in ([], ["--json"]):
            assert main(["config", *words, *form]) == 0
            told = capsys.readouterr()
            assert "canary" not in told.out + told.err
            assert "***" in told.out


def test_profile_connects(file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Every command that connects takes a profile; a file of the token lies beside the config file."""
    emulator = Emulator(api_token=TOKEN)
    (tmp_path / "token").write_text(TOKEN + "\n", encoding="utf-8")
    with in_thread(emulator) as served:
        written(file, f'[profiles.p]\nbase_url = "{served.base_url}"\nclient_key = "key"\napi_token_file = "token"\n')
        (tmp_path / "elsewhere").mkdir()
        os.chdir(tmp_path / "elsewhere")
        assert main(["load", str(write(tmp_path / "o.jsonl", orders(1))), "--profile", "p"]) == 0
        assert main(["orders", "list", "--reference-id", "B-0", "--profile", "p"]) == 0
        assert '"referenceId":"B-0"' in capsys.readouterr().out
    emulator.close()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("there is no profile p in", "it has none")),
        ("[profiles.a]\n[profiles.b]\n", ("there is no profile p in", "it has a, b")),
        ('[profiles.p]\nregio = "eu"\n', ("regio is no key of profile p", "did you mean region?")),
        ('[profiles.p]\nclient-key = "canary"\n', ("client-key is no key", "did you mean client_key?")),
        ('[profiles.p]\nzzz = "canary"\n', ("zzz is no key", "it takes api, api_token,")),
        ('[profiles.p]\nprofile = "q"\n', ("profile is no key",)),
        ('[profiles.p]\njson = "canary"\n', ("json is no key",)),
        ("[profile.p]\nrate = 5\n", ("profile is no key of", "did you mean profiles?")),
        ("[profiles.p]\nrate = true\n", ("rate in profile p of", "must be text or a number")),
        ('[profiles.p]\nrate = ["canary"]\n', ("rate in profile p of", "must be text or a number")),
        ("[profiles.p]\nrate = 0\n", ("rate in profile p of", "must be a finite number above 0")),
        ('[profiles.p]\nrate = "fast"\n', ("rate", "profile p of")),
        ('[profiles.p]\nregion = "eu"\nbase_url = "http://127.0.0.1:9"\n', ("base_url in profile p of", "exactly one")),
        (
            '[profiles.p]\napi_token = "canary"\napi_token_command = "x"\n',
            ("api_token_command in profile p", "only one"),
        ),
        ("profiles = 5\n", ("profiles in", "must be tables")),
        ("[profiles]\np = 5\n", ("profiles.p in", "must be a table")),
        ('[profiles.p]\napi_token = "canary\n', ("cannot be read: it breaks the rules of TOML at line 2",)),
        ("canary canary\n", ("it breaks the rules of TOML at line 1",)),
        ("x = " + "[" * 5000, ("cannot be read",)),
        ("#" * (2**20 + 1), ("must be at most 1,048,576 bytes long",)),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_profiles_that_are_refused(
    file: Path, capsys: pytest.CaptureFixture[str], text: str, words: tuple[str, ...]
) -> None:
    """A profile that is missing or wrong is one sentence that names it, and what there is."""
    written(file, text if "region" in text else text.replace("rate = 0", 'rate = 0\nregion = "eu"'))
    told = refusal(capsys, "orders", "get", NOBODY, "--profile", "p")
    assert [word for word in words if word not in told] == []
    assert str(file) in told


def test_a_refused_value_is_not_repeated(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be the token, put into the wrong setting; what is typed on the command line is there to be seen."""
    written(file, FILE.replace("rate = 50", f'rate = "{TOKEN}"'))
    told = refusal(capsys, "config", "--profile", "production")
    assert f"rate from profile production of {file}: unable to convert *** into" in told
    for name, rule in (
        ("CDP_RATE", "convert *** into float"),
        ("CDP_HTTP", "*** for CDP_HTTP"),
        ("CDP_CONNECTIONS", "***"),
    ):
        monkeypatch.setenv(name, TOKEN)
        told += refusal(capsys, "config")
        assert rule in told
        monkeypatch.delenv(name)
    assert TOKEN not in told
    assert 'unable to convert "seven" into int' in refusal(capsys, "config", "--connections", "seven")


def test_a_fraction_is_no_whole_number(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused, wherever it comes from, and not rounded; 8.0 is whole."""
    assert "--connections must be a whole number" in refusal(capsys, "config", "--connections", "7.5")
    assert "--max-errors must be a whole number" in refusal(capsys, "load", "o.jsonl", "--max-errors", "0.6")
    assert "--seed must be a whole number" in refusal(capsys, "sample", "--seed", "1e-3")
    monkeypatch.setenv("CDP_CONNECTIONS", "7.5")
    assert "CDP_CONNECTIONS must be a whole number" in refusal(capsys, "config")
    monkeypatch.delenv("CDP_CONNECTIONS")
    assert settings(capsys, "--connections", "8.0")["connections"] == (8, "option")
    written(file, FILE.replace("connections = 7", "connections = 7.5"))
    told = refusal(capsys, "config", "--profile", "production")
    assert f"connections in profile production of {file} must be a whole number" in told


def test_config_refuses_a_value_that_no_command_takes(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence names each wrong value by its option, its variable or its profile; missing values are no fault."""
    written(file, '[profiles.p]\nrate = -5\nregion = "mars"\n[profiles.q]\nregion = "eu"\n')
    told = refusal(capsys, "config", "--profile", "p")
    assert f"rate in profile p of {file} must be a finite number above 0" in told
    assert f"region in profile p of {file} must be one of ap, eu" in told
    for words in (["--rate=-5"], ["--region", "mars"], ["--connections", "0"], ["--api-token-file", "/nowhere"]):
        assert refusal(capsys, "config", *words).startswith(f"cdp-orders: {words[0].removesuffix('=-5')} must be ")
    assert settings(capsys, "--profile", "q", "--api-token-command", "/nowhere")["region"][0] == "eu"
    for variable, value in {"RATE": "-5", "REGION": "mars", "BASE_URL": "ftp://x", "CA_FILE": "/nowhere"}.items():
        with monkeypatch.context() as patch:
            patch.setenv(f"CDP_{variable}", value)
            for command in (["config"], ["orders", "get", NOBODY, "--client-key", "k", "--api-token", "t"]):
                if variable != "CA_FILE" or command == ["config"]:
                    assert refusal(capsys, *command).startswith(f"cdp-orders: CDP_{variable} must be ")
    written(file, f"[profiles.p]\nrate = {'9' * 5000}\n")
    assert "it has a number of too many digits" in refusal(capsys, "config", "--profile", "p")


def test_files_that_are_refused(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A config file that is missing, or is no file, is one sentence that names it."""
    file.unlink()
    assert f"there is no config file {file}" in refusal(capsys, "config", "--profile", "p")
    monkeypatch.setenv("CDP_CONFIG", str(tmp_path))
    assert f"the config file {tmp_path} is not a regular file" in refusal(capsys, "config", "--profile", "p")
    file.write_bytes(b"\xff\xfe")
    monkeypatch.setenv("CDP_CONFIG", str(file))
    assert "it is not UTF-8" in refusal(capsys, "config", "--profile", "p")


@pytest.mark.parametrize("rights", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write(file: Path, capsys: pytest.CaptureFixture[str], rights: int) -> None:
    """Who could write the file could send the credentials elsewhere: it is refused."""
    file.chmod(rights)
    assert f"others can write the config file {file}" in refusal(capsys, "config", "--profile", "production")


@pytest.mark.parametrize("rights", [0o640, 0o604])
def test_a_token_that_others_can_read(file: Path, capsys: pytest.CaptureFixture[str], rights: int) -> None:
    """A file with a token in it, in whichever profile, must not be readable for others; another may be."""
    file.chmod(rights)
    assert settings(capsys, "--profile", "production")["region"][0] == "eu"
    written(file, FILE + '[profiles.other]\napi_token = "canary"\n', rights)
    assert f"others can read the config file {file}" in refusal(capsys, "config", "--profile", "production")


def test_a_file_of_another_user(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that belongs to somebody else is refused, unless that is the administrator."""
    assert file.exists()
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    expected = own == 0
    assert main(["config", "--profile", "production"]) == (0 if expected else 2)
    assert ("belongs to another user" in capsys.readouterr().err) != expected


def test_place_of_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without CDP_CONFIG the file is where this system has those of its users."""
    monkeypatch.delenv("CDP_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = profiles.config_file()
    assert file.parts[-2:] == ("cdp-orders", "config.toml")
    assert sys.platform != "linux" or file.is_relative_to(tmp_path)


def test_help_needs_no_profile(file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The help of a command comes also where the profile is wrong; what does not connect needs none."""
    file.unlink()
    monkeypatch.setenv("CDP_PROFILE", "p")
    assert main(["load", "--help"]) == 0
    assert main(["completion", "bash"]) == 0
    assert capsys.readouterr().err == ""


def printing(code: str) -> str:
    """Return a command that runs *code*."""
    return f"'{sys.executable}' -c '{code}'"


def accepted(*words: str, wanted: str) -> bool:
    """Tell whether a server that wants that token answers a command."""
    emulator = Emulator(api_token=wanted)
    with in_thread(emulator) as served:
        place = ("--base-url", served.base_url, "--client-key", "key")
        status = main(["orders", "list", "--reference-id", "B-1", *place, *words])
    emulator.close()
    return status == 0


@pytest.mark.usefixtures("file")
def test_token_by_a_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The one line that the command prints is the token; no shell reads the command, and its errors are not heard."""
    assert accepted("--api-token-command", printing('print("canary-1")'), wanted="canary-1")
    command = printing('import sys; sys.stderr.write("canary"); print("  $HOME;x ", end="")')
    assert accepted("--api-token-command", command, wanted="$HOME;x")
    monkeypatch.setenv("CDP_API_TOKEN_COMMAND", printing('print("canary-2")'))
    assert accepted(wanted="canary-2")
    monkeypatch.setenv("CDP_API_TOKEN", "canary-3")
    assert accepted("--api-token-command", printing('print("canary-1")'), wanted="canary-1")
    assert capsys.readouterr().err == ""
    assert not accepted(wanted="canary-3")
    assert "CDP_API_TOKEN, CDP_API_TOKEN_COMMAND: only one of them can be set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "rule"),
    [
        (printing('import sys; print("canary"); sys.stderr.write("canary"); sys.exit(3)'), "ended with exit status 3"),
        (printing("import os; os.kill(os.getpid(), 9)"), "ended by signal 9"),
        (printing("pass"), "must print the API token on one line, and nothing else"),
        (printing('print("canary"); print("canary")'), "must print the API token on one line, and nothing else"),
        (printing('print("canary" * 20_000)'), "must print the API token on one line, and nothing else"),
        (printing('import sys; sys.stdout.buffer.write(b"\\xff")'), "must print the API token on one line"),
        (printing('while True: print("canary" * 999)'), "must print the API token on one line, and nothing else"),
        ("/nowhere/canary-command", "cannot be started: No such file or directory"),
        ("'canary", "must be a command whose quotes are closed"),
        ("", "must be a command"),
    ],
    ids=range(10),
)
@pytest.mark.usefixtures("file")
def test_a_command_that_gives_no_token(capsys: pytest.CaptureFixture[str], command: str, rule: str) -> None:
    """Its failure is one sentence with the status, and never what it printed."""
    place = ("--base-url", "http://127.0.0.1:9", "--client-key", "K")
    assert f"--api-token-command {rule}" in refusal(
        capsys, "orders", "get", NOBODY, *place, "--api-token-command", command
    )


@pytest.mark.usefixtures("file")
def test_a_command_that_takes_too_long(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A command that does not end is ended."""
    monkeypatch.setattr(options, "COMMAND_PATIENCE", 0.5)
    place = ("--base-url", "http://127.0.0.1:9", "--client-key", "K")
    command = printing("import signal; signal.pause()")
    told = refusal(capsys, "orders", "get", NOBODY, *place, "--api-token-command", command)
    assert "--api-token-command took longer than 0.5 seconds, and was ended" in told


def test_profile_is_an_option_of_all_that_connect() -> None:
    """Each command that takes a connection takes a profile."""
    assert {"config", "load", "orders"} <= set(cli.app)
    assert "profile" in Connection.__annotations__
