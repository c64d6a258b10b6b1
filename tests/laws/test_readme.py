"""The commands and programs of the manual run, and its pages lead to each other."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import orjson
import pytest
import yaml

from cdp_orders_async import CdpOrders, DeadlineExceeded, Invalid, Outcome, Verdict, parse_graph
from cdp_orders_async.emulator import Faults
from cdp_orders_async.timings import Timings
from tests.backends.serving import PROGRAMS as WEB
from tests.cli.support import TOKEN, Ran, Watched, cdp_orders, ended, lines_of, started, watched, write
from tests.engines.support import importable
from tests.laws.pages import BLOCKS, COMMANDS_PAGE, FRONT, PAGES, PROSE, ROOT, blocks, section, table

DEMO, TESTS, *_ = [text for language, text in BLOCKS if language == "sh"]
STEPS = [text for language, text in blocks(section("## Load a file")) if language == "sh"]
COMMANDS = [text for language, text in BLOCKS if language == "sh" and text not in (DEMO, TESTS, *STEPS)]
LOADS, OTHERS = ([line for line in COMMANDS if ("cdp-orders load" in line) is loads] for loads in (True, False))
(SHOWN,) = (text for language, text in BLOCKS if language == "text")
SMALLEST, ORDER, FAULTS = (orjson.loads(text) for language, text in BLOCKS if language == "json")


def program(heading: str, number: int = 0, page: str = "README.md") -> str:
    """Return a program under a *heading* of a *page*."""
    return [text for language, text in blocks(section(heading, page)) if language == "python"][number]


REFERENCE = "cdp_orders_async/README.md"
"""The page of the tables."""
WHOLE = "cdp_orders_async/ingest/README.md"
"""The page of whole programs."""
WORKER, JOB = (program(f"## In a {name}", page=WHOLE) for name in ("worker", "job"))
CLIENT, VERBS = program("## Python"), program("## Verbs", page=REFERENCE)
MODELS = program("## A whole order in Python", page=REFERENCE)
FASTSTREAM = [program("## FastStream", number, "cdp_orders_async/engines/README.md") for number in range(2)]
RAY = [program("## Ray and Spark", number, "cdp_orders_async/engines/README.md") for number in range(2)]
"""Programs that need a broker or a cluster: the tests of the engines run them."""
ELSEWHERE = (*WEB.values(), MODELS, *FASTSTREAM, *RAY)
PROGRAMS = [text for language, text in BLOCKS if language == "python" and text not in ELSEWHERE]


async def shell(line: str, folder: Path, server: Watched) -> Ran:
    """Run a line of the manual in *folder* against *server*: its address for a region, and its own credentials."""
    line = line.replace("http://127.0.0.1:8642", server.base_url).replace("--client-key K --api-token T", "")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**server.environment, "PATH": path, "TMPDIR": str(folder)}
    return await cdp_orders(cwd=folder, env=env, command=("sh", "-c", line))


def test_blocks_are_of_languages_that_are_checked() -> None:
    """No block escapes these tests."""
    assert {language for language, _ in BLOCKS} == {"sh", "text", "python", "json", "sql", "yaml"}
    assert all(
        re.match(r"cdp-orders (load|emulator) |\.venv/bin/python (-m tests\.|benchmarks/)", line) for line in COMMANDS
    )
    assert len(PROGRAMS) == 10


def slug(heading: str) -> str:
    """Return the anchor that a *heading* has."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_links_lead_to_pages() -> None:
    """The front page leads to every other page, and each link to a file and a heading that exist."""
    led: set[Path] = set()
    for page in (*PAGES, COMMANDS_PAGE):
        text = (ROOT / page).read_text(encoding="utf-8")
        for name, heading in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", text):
            path = (ROOT / page).parent / name if name else ROOT / page
            if path.suffix == ".svg":
                assert path.read_text(encoding="utf-8").startswith("<?xml")
                continue
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {"", *map(slug, headings)}
            led |= {path.resolve()} if page == "README.md" else set()
    assert led - {ROOT / "README.md"} == {(ROOT / page).resolve() for page in (*PAGES[1:], COMMANDS_PAGE)}


def test_contents() -> None:
    """The list of contents has the headings of the front page, in their order."""
    listed = re.findall(r"\[[^]]*\]\(#([^)]*)\)", FRONT.partition("\n## ")[0])
    assert listed == [slug(heading) for heading in re.findall(r"^## (.*)$", FRONT, re.MULTILINE)]


def test_figures_are_those_of_the_benchmarks() -> None:
    """The front page shows five rows of the benchmarks' page, word for word."""
    figures, measured = (
        [line for line in section(heading, page).splitlines() if line.startswith("| ") and "---" not in line]
        for heading, page in (("## Tuning", "README.md"), ("## Figures", "benchmarks/README.md"))
    )
    assert len(figures[1:]) == 5
    assert set(figures[1:]) <= set(measured)


def test_lines_are_short() -> None:
    """No line of prose is wider than 120 characters, in the changelog neither; a row of a table may be."""
    prose = PROSE + (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    lines = [line for line in prose.splitlines() if not line.startswith("|")]
    assert [line for line in lines if len(line) > 120] == []


def test_extras_exist() -> None:
    """The extras that are named are those of the package."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = re.findall(r"'(?:\.|cdp-orders-async)\[(.*?)\]'", FRONT)
    (others,) = re.findall(r"Other extras: (.*?)\.\n", FRONT)
    found = {extra for names in named for extra in names.split(",")} | set(re.findall(r"`(\w+)`", others))
    assert found >= {"cli", "emulator", "httptools", "dev"}
    assert found <= extras.keys()


def test_first_blocks_are_the_demo_and_the_tests() -> None:
    """The first two blocks are one line each; the second is what the checks run."""
    assert [block.count("\n") for block in (DEMO, TESTS)] == [1, 1]
    assert DEMO.endswith(" && .venv/bin/cdp-orders demo\n")
    assert TESTS.endswith(" && .venv/bin/python -m pytest --quiet -n auto --dist worksteal\n")
    found = re.search(r"^tests=\$\((.*)\)$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    assert subprocess.run(["sh", "-c", found[1]], cwd=ROOT, check=True, capture_output=True, text=True).stdout == TESTS


def masked(output: str) -> str:
    """Return the *output* of a demo without times, folders and ports, which differ from run to run."""
    names = "|".join(Timings.__struct_fields__)
    for pattern, mask in (
        (r"^.* done · .*\n", ""),  # progress, where the demo takes long
        (r"http://127\.0\.0\.1:\d+", "URL"),
        (r"/\S*/cdp-orders-demo-\w+", "FOLDER"),
        (r" in [\d.,]+ s, [\d,]+ a second$", " in TIME"),
        (rf"^Where the time went: \d+% ({names})(, \d+% ({names}))*$", "SHARES"),
        (r"^\d+% of the time was .*\n", ""),  # where one of them is most
    ):
        output = re.sub(pattern, mask, output, flags=re.MULTILINE)
    return output


async def test_demo_prints_what_is_shown(tmp_path: Path) -> None:
    """The demo loads 50 orders, and its messages and its output are those of the page, line by line."""
    async with watched() as server:
        ran = await shell(DEMO.rpartition("/")[2], tmp_path, server)
    assert ran.status == 0
    assert "SHARES\n" in masked(SHOWN)
    assert masked(ran.err + ran.out) == masked(SHOWN)


async def test_steps_run(tmp_path: Path) -> None:
    """The steps load the orders of the page; a line that breaks a rule is the one that needs a person; they resume."""
    write(tmp_path / "orders.jsonl", [ORDER, SMALLEST, {}])
    (tmp_path / "token.txt").write_text(f"{TOKEN}\n")
    assert "CDP_REGION=eu CDP_CLIENT_KEY=K " in STEPS[0]
    async with watched() as server:
        script = "".join(STEPS).replace("CDP_REGION=eu", f"CDP_BASE_URL={server.base_url}")
        env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        command = ("sh", "-c", script.replace("CLIENT_KEY=K", "CLIENT_KEY=key"))
        for good in ("loaded", "already"):
            ran = await cdp_orders(cwd=tmp_path, env=env, command=command)
            (line,) = ran.out.splitlines()[-1:]
            assert f"│ {good}" in ran.out
            assert orjson.loads(line)["verdict"] == "invalid"
            verdicts = sorted(outcome["verdict"] for outcome in lines_of(tmp_path / "outcomes.jsonl"))
            assert verdicts == sorted([good, good, "invalid"])
            assert server.holds([ORDER, SMALLEST])
    assert (tmp_path / "orders.jsonl.journal.sqlite").exists()


@pytest.mark.parametrize("line", LOADS)
async def test_loads_run(tmp_path: Path, line: str) -> None:
    """Each command that loads does so, with the order of the front page as its file."""
    write(tmp_path / "orders.jsonl", [ORDER])
    async with watched() as server:
        ran = await shell(line, tmp_path, server)
        assert (ran.status, ran.told) == (0, "")
        assert server.holds([ORDER])


@pytest.mark.parametrize("line", OTHERS)
async def test_commands_run(tmp_path: Path, line: str) -> None:
    """The emulator starts as it is started there, on a free port; a campaign, which is long, has these options."""
    if "emulator" in line:
        words = line.replace("8642", "0").split()
        async with started(*words[1:], cwd=tmp_path) as process:
            assert process.stdout is not None
            assert b"The emulator listens on http://127.0.0.1:" in await process.stdout.readline()
            process.terminate()
            assert (await ended(process)).status == 0
    else:
        ran = await cdp_orders(*line.split()[1:], "--help", cwd=ROOT, command=(sys.executable,))
        assert ran.status == 0
        assert [option for option in re.findall(r"--\w+", line) if f" {option} " not in ran.out] == []


@pytest.mark.parametrize("text", PROGRAMS)
async def test_programs_run(tmp_path: Path, text: str) -> None:
    """Each program runs as it stands, with no warning, where the variables name a server and there are orders."""
    write(tmp_path / "orders.jsonl", [importable(ORDER)])
    (tmp_path / "program.py").write_text(text)
    async with watched() as server:
        command = (sys.executable, "-W", "error", "program.py")
        ran = await cdp_orders(cwd=tmp_path, env=server.environment, command=command)
        assert (ran.status, ran.err) == (0, "")
        assert server.received > 0 or "emulator.running(" in text or "aioresponses() as" in text


@pytest.mark.parametrize(
    ("text", "before", "after"), [(CLIENT, "", "loaded\n"), (VERBS, r"\['AZ10'\]\n", "")], ids=["client", "verbs"]
)
async def test_programs_of_the_client(tmp_path: Path, text: str, before: str, after: str) -> None:
    """They meet no error, and print what is on the server then."""
    (tmp_path / "program.py").write_text(text)
    async with watched() as server:
        ran = await cdp_orders(cwd=tmp_path, env=server.environment, command=(sys.executable, "program.py"))
    assert re.fullmatch(rf"{before}[0-9a-f-]{{36}} CONFIRMED\n{after}", ran.out)


def test_program_of_the_verbs() -> None:
    """It calls each verb of the table."""
    verbs = {name for verb, _ in table("verb", "what it does") for name in re.findall(r"`(\w+)`", verb)}
    assert set(re.findall(r"cdp\.\w+\.(\w+)\(", VERBS)) == verbs


@pytest.mark.parametrize(("fault", "said"), [("status", "it may have been made"), ("html", "it may have been made")])
async def test_program_of_the_client_fails(tmp_path: Path, fault: str, said: str) -> None:
    """Its errors are said, and end nothing else."""
    (tmp_path / "program.py").write_text(CLIENT)
    faults = {"faults": [{"operation": "orders.create", "script": [{"action": fault, "status": 500}]}]}
    async with watched(faults) as server:
        ran = await cdp_orders(cwd=tmp_path, env=server.environment, command=(sys.executable, "program.py"))
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith(said)


def test_models_are_the_order() -> None:
    """The order in Python is the one in JSON; nothing in it breaks a rule."""
    names: dict[str, object] = {}
    exec(MODELS, names)  # noqa: S102 a program of the page
    graph = parse_graph(ORDER)
    assert names["graph"] == graph
    assert graph.violations() == []


def test_examples_are_valid() -> None:
    """The orders and the faults shown are such; the smallest order has nothing to leave out."""
    assert parse_graph(ORDER).order.reference_id == ORDER["referenceId"]
    parse_graph(SMALLEST)
    for key in SMALLEST:
        with pytest.raises(ValueError, match=re.escape(f"$.{key}: is required")):
            parse_graph({name: value for name, value in SMALLEST.items() if name != key})
    Faults.of(FAULTS)


def module(folder: Path, text: str) -> ModuleType:
    """Return a program as a module that does nothing yet."""
    path = folder / "program.py"
    path.write_text(text.replace("\nasyncio.run(main())\n", ""))
    spec = importlib.util.spec_from_file_location("program", path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


async def test_compose(tmp_path: Path) -> None:
    """The recipe is YAML; its emulator starts as it says, and its app may call it and no other host."""
    (text,) = (text for language, text in BLOCKS if language == "yaml")
    services = yaml.safe_load(text)["services"]
    command = services["cdp"]["command"][-1].partition("exec ")[2].replace("$$", "$")
    variables = {**services["app"]["environment"], "CDP_API_TOKEN": "a token of ours"}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    script = f"exec {command} --port 0"
    async with started(cwd=tmp_path, env={**variables, "PATH": path}, command=("sh", "-c", script)) as process:
        assert process.stdout is not None
        assert b"The emulator listens on http://" in await process.stdout.readline()
        process.terminate()
        assert (await ended(process)).status == 0
    assert services["app"]["network_mode"] == "service:cdp"
    CdpOrders(base_url=variables["CDP_BASE_URL"], client_key="K", api_token="T")  # noqa: S106 it guards nothing
    with pytest.raises(Invalid, match="must be https"):
        CdpOrders(base_url="http://cdp:8642", client_key="K", api_token="T")  # noqa: S106 the same


class Rows:
    """The database of the web backend: it keeps what was done in it, or raises an error."""

    def __init__(self, error: Exception | None = None) -> None:
        self.done: list[str] = []
        self.error = error

    async def execute(self, query: str, *_: object) -> None:
        """Do nothing."""
        if self.error is not None:
            raise self.error
        self.done.append(query)


async def test_table_of_verdicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verdict is there; the web backend and the worker do with each what the tables say."""
    rows = {name.strip("`"): do for name, _, do in table("verdict", "meaning", "what to do")}
    assert list(rows) == list(map(str, Verdict))
    cells = {heads: (web, worker) for heads, web, worker, _ in table("", "web backend", "worker", "job")}
    told = {
        name: next(both for heads, both in cells.items() if any(do.startswith(head) for head in heads.split(", ")))
        for name, do in rows.items()
    }
    web, worker = module(tmp_path, WEB["outbox"]), module(tmp_path, WORKER)
    statuses = {name: status for status, when in table("status", "when") for name in re.findall(r"`(\w+)`", when)}

    async def done(verdict: Verdict | None, *, raised: bool) -> tuple[int, str]:
        async def ingested(*_: object, **__: object) -> Outcome:
            outcome = None if verdict is None else Outcome(file=None, number=1, key="k", verdict=verdict)
            if outcome is not None and not raised:
                return outcome
            error = DeadlineExceeded("too late")
            error.outcome = outcome
            raise error

        monkeypatch.setattr(web, "ingest_one", ingested)
        monkeypatch.setattr(worker, "ingest_one", ingested)
        rows = Rows()
        status, answer = await web.Checkout(None, None, rows).place(orjson.dumps(ORDER))
        assert answer == {"order": parse_graph(ORDER).key}
        assert rows.done == [web.ADD, *([web.END[status]] if status != 202 else [])]
        return status, await worker.work(None, None, orjson.dumps(ORDER))

    for raised in (False, True):
        for verdict in Verdict:
            status, answer = await done(verdict, raised=raised)
            of_web, of_worker = told[verdict]
            assert statuses[str(verdict)] == str(status)
            assert (of_web.startswith(str(status)), of_worker.startswith(answer)) == (True, True), verdict
    assert await done(None, raised=True) == (202, "retry")
    for wrong in (b"{", b"{}", b"\xff"):
        assert (await web.Checkout(None, None, Rows()).place(wrong))[0] == 400
    assert (await web.Checkout(None, None, Rows(ConnectionRefusedError())).place(orjson.dumps(ORDER)))[0] == 503
    assert await worker.work(None, None, b"{") == "dead letter"
    assert await worker.work(None, None, b"{}") == "dead letter"


async def test_job_fails(tmp_path: Path) -> None:
    """The job ends with 1 where an order is not loaded, and with 2 and one sentence where the load ended."""
    (tmp_path / "program.py").write_text(JOB)
    write(tmp_path / "orders.jsonl", [ORDER, {}])
    async with watched() as server:
        command = (sys.executable, "program.py")
        ran = await cdp_orders(cwd=tmp_path, env=server.environment, command=command)
        assert (ran.status, ran.err, ran.out.count("\n")) == (1, "", 2)
        write(tmp_path / "orders.jsonl", [SMALLEST])
        ran = await cdp_orders(cwd=tmp_path, env={**server.environment, "CDP_API_TOKEN": "wrong"}, command=command)
        assert (ran.status, ran.err.count("\n")) == (2, 1)
