"""Talks to the person: plain lines for a log, bars and colours for a terminal, JSON for a program."""

from __future__ import annotations

import json
import sys
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable
from rich.text import Text

from phase_1.apply import Watch
from phase_1.findings import ERROR, NOTICE, WARNING, Finding
from phase_1.found import Found
from phase_1.plan import SECONDS_THAT_HURT, Loss, Plan, Step
from phase_1.problems import NoTerminal
from phase_1.shown import each_text, printable
from phase_1.verify import Measured, Report

_COLOURS = {ERROR: "bold red", WARNING: "yellow", NOTICE: "dim"}


class Console(Watch):
    """What is said while the runner is at work.

    Results go to standard output, errors to standard error. With ``as_json``, or where standard output is
    the script of a dry run, everything but the result goes to standard error. Whatever is said is printable and
    without the passwords; a text is one line, whatever is in it.
    """

    def __init__(self, *, as_json: bool, aside: bool) -> None:
        self.as_json = as_json
        #: What takes the passwords out of a text, as soon as they are known.
        self.hide: Callable[[str], str] = str
        self._out = RichConsole(file=sys.stderr if as_json or aside else sys.stdout)
        self._error = RichConsole(stderr=True)
        self._progress: Optional[Progress] = None
        self._task: Any = None
        self.result: Dict[str, Any] = {}

    @property
    def interactive(self) -> bool:
        """Whether there is somebody to ask."""
        return sys.stdin is not None and sys.stdin.isatty()

    def say(self, text: str = "", style: str = "") -> None:
        """A line of what is going on."""
        self._print(self._out, Text(self._safe(text), style=style))

    def _safe(self, text: str) -> str:
        """The text as it may be said. The password goes first: it may have a character that is not printable."""
        return printable(self.hide(text))

    @staticmethod
    def _print(target: RichConsole, text: Text) -> None:
        """A line in colour for a terminal; a log is read with grep: its lines are plain, and not broken."""
        if target.is_terminal:
            target.print(text)
        else:
            target.file.write(text.plain + "\n")
            target.file.flush()

    def complain(self, text: str, *more: str) -> None:
        """An error: one message on standard error, with more lines that are not part of it."""
        self.result["error"] = text
        for line in (text, *more):
            self._print(self._error, Text(self._safe(line), style="red"))

    def script(self, text: str) -> None:
        """The script of a dry run, to standard output, byte for byte."""
        if self.as_json:
            self.result["script"] = text
        else:
            sys.stdout.write(text)
            sys.stdout.flush()

    def finish(self, exit_code: int) -> int:
        """Ends the run: prints the JSON where it was asked for."""
        if self.as_json:
            # The script is what runs, byte for byte, and holds no password.
            result = {
                key: each if key == "script" else each_text(each, self._safe) for key, each in self.result.items()
            }
            sys.stdout.write(json.dumps({"exit_code": exit_code, **result}, indent=2, default=str) + "\n")
        return exit_code

    # What is there

    def found(self, found: Found) -> None:
        """The database and the tables, as they are."""
        self.result["database"] = found.database
        self.result["server_version"] = found.version
        self.result["tables"] = {
            table.name: {
                "rows": table.rows,
                "bytes": table.table_bytes + table.index_bytes,
                "time_column": table.time_column,
            }
            for table in found.tables
        }
        self.say(
            f"Database {found.database}, PostgreSQL {found.version // 10000}.{found.version % 10000}, as {found.user}.",
            "bold",
        )
        self.remembered(found)
        self.table(
            "",
            ("table", "rows (about)", "size", "time column"),
            [
                (
                    table.name,
                    f"{table.rows:,}" + (" (a guess)" if table.guessed else ""),
                    size(table.table_bytes + table.index_bytes),
                    table.time_column or "none",
                )
                for table in found.tables
            ],
        )

    def remembered(self, found: Found) -> None:
        """What nobody has given now and was given when the database was migrated."""
        if found.remembered:
            self.result["options_from_the_log"] = list(found.remembered)
            self.say(f"Options taken from the log of the last migration: {' '.join(found.remembered)}", "yellow")

    def findings(self, findings: Iterable[Finding], *, to_error: bool = False) -> None:
        """Findings, the worst first; ``to_error`` sends the errors among them to standard error."""
        levels = (ERROR, WARNING, NOTICE)
        ordered = sorted(findings, key=lambda finding: levels.index(finding.level))
        self.result.setdefault("findings", []).extend(vars(finding) for finding in ordered)
        for finding in ordered:
            target = self._error if to_error and finding.level == ERROR else self._out
            text = Text(f"{finding.level}: ", style=_COLOURS[finding.level])
            text.append(self._safe(f"{finding.object}: {finding.problem}."), style="not bold default")
            self._print(target, text)
            self._print(target, Text(self._safe(f"    What to do: {finding.action}")))

    def plan(self, plan: Plan) -> None:
        """The steps to come, in a line for each kind, with what they cost."""
        self.result["plan"] = {"to_do": [step.label for step in plan.steps], "done": plan.done}
        kinds: Dict[str, List[str]] = {}
        for step in plan.steps:
            kinds.setdefault(step.section.name, []).append(step.label)
        self.say(f"{len(plan.steps)} steps to do, {plan.done} done already.", "bold")
        for name, labels in kinds.items():
            self.say(f"  {name}" + (f" × {len(labels)}" if len(labels) > 1 else ""))
        for remark in plan.remarks:
            self.say(f"note: {remark}", "yellow")

    def cost(self, plan: Plan) -> None:
        """What the run will cost, by the planner's estimate of the rows."""
        guessed = [table.name for table in plan.found.tables if table.guessed]
        self.result["cost"] = {
            "seconds": round(plan.seconds, 1),
            "index_bytes": plan.index_bytes,
            "guessed": guessed,
        }
        if plan.found.options.online:
            self.say(
                f"It works while the application runs, gives way after {plan.found.options.lock_timeout} ms, and reads "
                f"about {plan.rows:,} rows."
            )
        else:
            self.say(
                f"It will hold its locks for about {plan.seconds:.1f} s ({plan.rows:,} rows); nobody reads or writes "
                "the tenant tables meanwhile."
            )
        self.say(
            f"The new indexes take about {size(plan.index_bytes)} of disk, and their build as much again for a while."
        )
        if guessed:
            self.say(
                f"The rows of {', '.join(guessed)} are a guess from the size, since nobody has analysed them: after an "
                "ANALYZE the numbers are better.",
                "yellow",
            )
        if plan.seconds > SECONDS_THAT_HURT and not plan.found.options.online:
            self.say(
                f"That is more than {SECONDS_THAT_HURT:.0f} s: use --online, or run it in a maintenance window.",
                "yellow",
            )

    def lost(self, lost: Sequence[Loss]) -> None:
        """What a rollback loses."""
        self.result["lost"] = [
            {"organization": each.organization, "table": each.table, "rows": each.rows} for each in lost
        ]
        self.say("The rollback loses for good which client these rows belong to:", "bold")
        rows = [(each.organization, each.table, f"{each.rows:,}") for each in lost]
        self.table("", ("organization", "table", "rows"), rows)

    def report(self, report: Report) -> None:
        """What the checks found, and the baseline."""
        self.result["report"] = report.as_dict()
        self.findings(report.findings, to_error=True)
        if report.integrity:
            self.say(f"Data integrity: {report.integrity['status']}.")
        self.table(
            "Baseline of the client-scoped queries",
            ("query", "ms", "pages", "rows"),
            [_measured(measured) for measured in report.baseline],
        )
        violations = len(report.violations)
        self.say(
            "Checks: no violation." if not violations else f"Checks: {violations} violations.",
            "bold green" if not violations else "bold red",
        )

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A small table."""
        if not rows:
            return
        title, rows = self._safe(title), [[self._safe(cell) for cell in row] for row in rows]
        numeric = [number > 0 and all(row[number][:1].isdigit() for row in rows) for number in range(len(columns))]
        if not self._out.is_terminal:
            widths = [max(map(len, column)) for column in zip(columns, *rows)]
            for line in [*([[title]] if title else []), columns, *rows]:
                cells = zip(line, widths, numeric)
                self.say("  ".join(f"{cell:{'>' if right else '<'}{width}}" for cell, width, right in cells).rstrip())
            return
        made = RichTable(
            title=Text(title) if title else None, box=None, pad_edge=False, title_justify="left", title_style="bold"
        )
        for column, right in zip(columns, numeric):
            made.add_column(column, justify="right" if right else "left", overflow="fold")
        for row in rows:
            made.add_row(*map(Text, row))
        self._out.print(made)

    # Questions

    def ask(self, question: str) -> bool:
        """Asks for yes. Raises NoTerminal where there is nobody to ask."""
        return self._answer(f"{question} [y/N] ").strip().lower() in ("y", "yes")

    def ask_for(self, words: str) -> bool:
        """Asks for exactly these words. Raises NoTerminal where there is nobody to ask."""
        return self._answer(f"Type {words} to go on: ").strip() == words

    def _answer(self, prompt: str) -> str:
        if not self.interactive:
            raise NoTerminal(
                "there is no terminal to ask on; give --force to go on without questions, or --dry-run to look"
            )
        self._out.print(Text(self._safe(prompt), style="bold"), end="")
        try:
            return input()
        except EOFError:
            return ""

    # Progress

    def step(self, step: Step, number: int, count: int) -> None:
        """A step begins: a bar on a terminal, a line elsewhere."""
        if not self._out.is_terminal:
            self.say(f"[{number}/{count}] {step.label}")
            return
        if self._progress is None:
            self._progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=20),
                TimeElapsedColumn(),
                console=self._out,
            )
            self._progress.start()
        self._end_bar()
        self._task = self._progress.add_task(self._safe(f"[{number}/{count}] {step.label}"), total=1.0)

    def progress(self, share: float) -> None:
        """How much of an index is built."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=share)

    def waiting(self, label: str, blockers: Sequence[str], pause: float) -> None:
        """A lock was not to be had."""
        who = "; ".join(blockers) or "nobody in sight any more"
        self.say(f"{label}: gave way, trying again in {pause:.1f} s. In the way: {who}", "yellow")

    def stopping(self) -> None:
        """Ctrl-C was heard."""
        self.say("Stopping after the statement that is under way; Ctrl-C again cancels it.", "yellow")

    def clearing(self) -> None:
        """What is left of a build goes."""
        self.say(
            "Dropping what is left of the index, which waits for older transactions as well; Ctrl-C leaves it to the "
            "next run, or to the rollback.",
            "yellow",
        )

    def disconnected(self, seconds: float) -> None:
        """The server went away."""
        self.say(
            f"The connection is lost: looking for the server, for {seconds:g} s at most, to read what became of it. "
            "Ctrl-C gives up.",
            "yellow",
        )

    def finished(self) -> None:
        """The bars come to rest."""
        self._end_bar()
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _end_bar(self) -> None:
        """The bar becomes a line: a terminal is not as high as there are steps, and the last one counts."""
        if self._progress is not None and self._task is not None:
            task = next(task for task in self._progress.tasks if task.id == self._task)
            self._progress.remove_task(self._task)
            self._task = None
            self.say(f"{task.description}  {task.elapsed:.1f} s")


def _measured(measured: Measured) -> Tuple[str, ...]:
    return (
        measured.query,
        f"{measured.milliseconds:.2f}",
        f"{measured.buffers:,}",
        f"{measured.rows:,.0f}",
    )


def size(count: float) -> str:
    """Bytes for a person."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TB"
