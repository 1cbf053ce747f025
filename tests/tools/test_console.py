"""What the runner says to a person: on a terminal in colour and with bars, in a log as plain lines."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from migrate import _look as look
from phase_1 import apply
from phase_1.apply import Sessions, Watch
from phase_1.console import Console, size
from phase_1.findings import ERROR, NOTICE, WARNING, Finding
from phase_1.inventory import TABLES
from phase_1.options import parse
from phase_1.plan import Step
from phase_1.scripts import Section
from phase_1.verify import Report
from tests.plugins.database import OWNER, Database, Templates
from tests.support.runner import run

_STEP = Step("create_index(idx[a])", Section("create_index", {}, ()), {}, (), {})


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output counts as a terminal of 80 columns without colours."""
    for name, value in {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)


def _plain(text: str) -> str:
    """Without what moves the cursor and colours."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


@pytest.mark.usefixtures("terminal")
def test_terminal_shows_each_step_in_its_turn_and_how_long_it_took(database: Database) -> None:
    """On a terminal each step has a bar, and when it is done a line with its number, its name and its seconds.

    Who watches a migration would not know whether it still moves, nor afterwards what took so long.
    """
    done = run("--dsn", database.owner_dsn, "--force")
    assert done.status == 0, done.err
    lines = re.findall(r"^\[(\d+)/(\d+)\] (\S+)  (\d+)\.\d s$", _plain(done.out).replace("\r", "\n"), re.MULTILINE)
    steps = [step for *_, step, _ in lines]
    assert [(int(number), int(count)) for number, count, *_ in lines] == [
        (number, len(lines)) for number in range(1, len(lines) + 1)
    ]
    assert "create_index(idx_users_client_created_at)" in steps
    assert all(int(seconds) < 60 for *_, seconds in lines)


def test_log_shows_each_step_in_its_turn(database: Database) -> None:
    """In a log each step is a line with its number, from 1 to how many there are, and nothing moves the cursor.

    Nobody could tell from it how far a run had come.
    """
    done = run("--dsn", database.owner_dsn, "--force", "--online")
    assert done.status == 0, done.err
    numbers = re.findall(r"^\[(\d+)/(\d+)\] \S+$", done.out, re.MULTILINE)
    assert numbers == [(str(number), str(len(numbers))) for number in range(1, len(numbers) + 1)]
    assert len(numbers) > 20
    assert "\x1b" not in done.out


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(("share", "filled"), [(0.0, 0), (0.5, 10), (1.0, 20)], ids=["begun", "half", "built"])
def test_bar_is_as_full_as_the_index_is_built(capsys: pytest.CaptureFixture[str], share: float, filled: int) -> None:
    """The bar of a step of which a share is done is filled by that share of its 20 characters.

    Ten minutes of an empty bar look like a run that hangs.
    """
    console = Console(as_json=False, aside=False)
    console.step(_STEP, 1, 1)
    console.progress(share)
    assert console._progress is not None
    console._progress.refresh()
    last = _plain(capsys.readouterr().out).replace("\r", "\n").rstrip().rpartition("\n")[2]
    assert last.count("━") == filled
    assert last.startswith("[1/1] create_index(idx[a]) ")
    console.finished()


@pytest.mark.usefixtures("terminal")
def test_bar_of_the_step_before_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal there is one bar at a time: that of a step that is done is a line, the last one too.

    A terminal is not as high as there are steps, and the one that is at work would be out of sight.
    """
    console = Console(as_json=False, aside=False)
    for number in (1, 2, 3):
        console.step(replace(_STEP, label=f"step_{number}"), number, 3)
        assert console._progress is not None
        assert [task.description for task in console._progress.tasks] == [f"[{number}/3] step_{number}"]
    console.finished()
    assert console._progress is None
    lines = _plain(capsys.readouterr().out).replace("\r", "\n").splitlines()
    done = [line.strip() for line in lines if line.strip().endswith(" s")]
    assert [line.partition("  ")[0] for line in done] == ["[1/3] step_1", "[2/3] step_2", "[3/3] step_3"]
    console.progress(0.5)  # what an observer says too late moves nothing
    console.finished()


@pytest.mark.usefixtures("terminal")
def test_table_on_a_terminal_has_its_title_its_columns_and_numbers_to_the_right(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A table on a terminal has title, heads and rows; columns of numbers but for the first one stand to the right.

    Rows of many digits could not be compared at a glance.
    """
    console = Console(as_json=False, aside=False)
    console.table("Sizes", ("name", "size", "note"), [("1a", "9 kB", "x"), ("2bb", "12 kB", "[red]1")])
    assert [line.rstrip() for line in _plain(capsys.readouterr().out).splitlines()] == [
        "Sizes",
        "name   size  note",
        "1a     9 kB  x",
        "2bb   12 kB  [red]1",
    ]


def test_table_in_a_log_has_its_title_its_columns_and_numbers_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    """The same in a log, a line for each row; a table without rows is not said at all.

    A log is read with grep, and a heading without a table looks like something that went wrong.
    """
    console = Console(as_json=False, aside=False)
    console.table("Sizes", ("name", "size", "note"), [("1a", "9 kB", "x"), ("2bb", "12 kB", "1")])
    console.table("", ("name",), [("a",)])
    console.table("Nothing", ("name",), [])
    assert capsys.readouterr().out.splitlines() == [
        "Sizes",
        "name   size  note",
        "1a     9 kB  x",
        "2bb   12 kB  1",
        "name",
        "a",
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 kB"),
        (1024**2 - 1024, "1023 kB"),
        (1024**2, "1 MB"),
        (1024**3, "1 GB"),
        (1024**4, "1.0 TB"),
        (5.5 * 1024**4, "5.5 TB"),
        (2048 * 1024**4, "2048.0 TB"),
    ],
    ids=str,
)
def test_size_is_said_in_the_unit_that_fits(count: float, text: str) -> None:
    """Bytes are said in the largest unit of 1,024 that is not above them, up to terabytes.

    A disk would be taken for large enough that is a thousandth of what is needed.
    """
    assert size(count) == text


def test_findings_are_said_the_worst_first_and_errors_where_errors_go(capsys: pytest.CaptureFixture[str]) -> None:
    """Errors come first, then warnings, then notices; before a run the errors alone go to standard error.

    What stops the run would be lost between what is merely good to know.
    """
    findings = [Finding("check", level, level, "is so", "mend it") for level in (NOTICE, ERROR, WARNING)]
    console = Console(as_json=False, aside=False)
    console.findings(findings)
    said = capsys.readouterr()
    assert re.findall(r"^(\w+): ", said.out, re.MULTILINE) == [ERROR, WARNING, NOTICE]
    assert said.err == ""
    console = Console(as_json=False, aside=False)
    console.findings(findings, to_error=True)
    said = capsys.readouterr()
    assert re.findall(r"^(\w+): ", said.out, re.MULTILINE) == [WARNING, NOTICE]
    assert re.findall(r"^(\w+): ", said.err, re.MULTILINE) == [ERROR]
    assert [each["level"] for each in console.result["findings"]] == [ERROR, WARNING, NOTICE]


HOSTILE, SHOWN = "a\nerror: b\x1b[2J\u202e", r"a\nerror: b\x1b[2J\u202e"


def _say_everything(console: Console) -> None:
    """The same hostile text in everything that is said."""
    console.say(HOSTILE)
    console.complain(HOSTILE, HOSTILE)
    console.findings([Finding("check", ERROR, HOSTILE, HOSTILE, HOSTILE)])
    console.table(HOSTILE, ("name", "size"), [(HOSTILE, "1")])
    console.waiting(HOSTILE, [HOSTILE], 1.0)
    console.step(replace(_STEP, label=HOSTILE), 1, 1)
    console.finished()


def test_text_from_a_database_begins_no_line_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    """In a log whatever is said is printable, and each text is one line.

    A name with a line feed in it would be read as a message of the run.
    """
    _say_everything(Console(as_json=False, aside=False))
    said = capsys.readouterr()
    lines = (said.out + said.err).splitlines()
    assert [line for line in lines if not line.isprintable()] == []
    assert [line for line in lines if line.startswith("error: b")] == []
    assert said.err.splitlines() == [SHOWN, SHOWN]
    assert [line.count(SHOWN) for line in said.out.splitlines()] == [1, 2, 1, 1, 0, 1, 2, 1]


@pytest.mark.usefixtures("terminal")
def test_text_from_a_database_moves_no_cursor(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal only what the runner draws itself moves the cursor, and a question is one line as well.

    What was confirmed would not be what was on the screen.
    """
    console = Console(as_json=False, aside=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda: "y")
    assert console.ask(HOSTILE)
    _say_everything(console)
    said = capsys.readouterr()
    assert "\x1b[2J" not in said.out + said.err
    assert "\u202e" not in said.out + said.err
    lines = [line for part in (said.out, said.err) for line in _plain(part).replace("\r", "\n").splitlines()]
    assert [line for line in lines if line.startswith("error: b")] == []
    assert f"{SHOWN} [y/N] " in _plain(said.out)


def test_result_for_a_program_is_printable_but_for_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    """In the JSON each text and each name is printable once it is read; the script is what runs, to the byte.

    Whatever shows the result next would be the terminal that is fooled.
    """
    console = Console(as_json=True, aside=False)
    console.result["lost"] = [{"organization": HOSTILE, "rows": 1}]
    console.complain(HOSTILE)
    console.script("SELECT 1;\n")
    console.finish(0)
    said = capsys.readouterr()
    assert json.loads(said.out) == {
        "exit_code": 0,
        "lost": [{"organization": SHOWN, "rows": 1}],
        "error": SHOWN,
        "script": "SELECT 1;\n",
    }


@pytest.mark.parametrize(("as_json", "aside"), [(True, False), (False, True)], ids=["json", "script"])
def test_remarks_stay_out_of_what_a_program_reads(
    capsys: pytest.CaptureFixture[str], *, as_json: bool, aside: bool
) -> None:
    """Where standard output is JSON or a script, everything else goes to standard error.

    psql would run a remark.
    """
    Console(as_json=as_json, aside=aside).say("a remark")
    assert capsys.readouterr() == ("", "a remark\n")


def test_database_is_said_with_its_version_and_each_table_with_its_size(templates: Templates) -> None:
    """The run says which database it is at, on which version, as whom, and how large each table is with its indexes.

    Who is in the wrong database sees it here, or when it is too late.
    """
    database = templates.clone("deployed")
    done = run("--dsn", database.owner_dsn, "--dry-run")
    assert f"Database {database.name}, PostgreSQL {database.server.version}, as {OWNER}." in done.err
    for table in TABLES:
        [(count,)] = database.query("SELECT pg_total_relation_size(%s)", f"public.{table.name}")
        assert re.search(rf"^{table.name} +\d[\d,]* +{size(count)} ", done.err, re.MULTILINE), done.err
    database.drop()


@pytest.mark.parametrize("findings", [0, 2])
def test_checks_end_in_green_or_in_red(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], findings: int
) -> None:
    """On a terminal in colour the checks end in green without a violation, and in red with how many there are.

    Nobody reads the last line of many twice.
    """
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    console = Console(as_json=False, aside=False)
    console.report(
        Report([Finding("check", ERROR, f"object {number}", "is so", "mend it") for number in range(findings)])
    )
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == (
        f"\x1b[1;31mChecks: {findings} violations.\x1b[0m" if findings else "\x1b[1;32mChecks: no violation.\x1b[0m"
    )


def test_plan_counts_the_steps_of_a_kind(templates: Templates) -> None:
    """The plan is a line for each kind of step, with how many there are where there is more than one.

    Forty lines of it nobody reads.
    """
    database = templates.clone("deployed")
    done = run("--dsn", database.owner_dsn, "--dry-run")
    assert re.search(r"^  add_client_id × 7$", done.err, re.MULTILINE)
    assert re.search(r"^  create_organizations$", done.err, re.MULTILINE)
    count = re.search(r"^(\d+) steps to do, 0 done already\.$", done.err, re.MULTILINE)
    # The script has the name of each step above its statements.
    assert "\n\n-- create_organizations\nCREATE TABLE public.organizations" in done.out
    kinds = re.findall(r"^  \w+(?: × (\d+))?$", done.err, re.MULTILINE)
    assert count is not None
    assert sum(int(each or 1) for each in kinds) == int(count[1])
    database.drop()


def test_progress_of_a_build_is_what_the_server_says_of_it(templates: Templates) -> None:
    """While an index is built the run tells how much of it: here of one that is scanned and waits for a reader.

    The bar of the longest step would stand still.
    """
    database = templates.clone("deployed")
    reader = database.connect(autocommit=False)
    reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    shares: list[float] = []

    class Recorder(Watch):
        def step(self, step: Step, number: int, count: int) -> None:
            if step.label == "create_index(idx_sellout_entries2_client_upload_id)":
                reader.execute("SELECT 1")  # takes the snapshot that the build waits for when all is scanned

        def progress(self, share: float) -> None:
            shares.append(share)
            if share > 0:
                reader.rollback()

    options = parse(["--online", "--concurrently-timeout", "10s", "--give-up-after", "1s"])
    sessions = Sessions(database.owner_dsn)
    apply.run(look(sessions, options)[2], sessions, options, Recorder())
    sessions.close()
    assert all(0 <= share <= 1 for share in shares)
    assert max(shares) > 0
    reader.close()
    database.drop()
