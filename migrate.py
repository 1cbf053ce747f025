"""Phase 1: shows, applies, checks, logs and undoes the multi-tenant migration.

It goes through these stages: what was asked, where, what is there, what speaks against it, what is
missing, the questions, doing it, checking it. Each is a module of ``phase_1``.
"""

import sys

if __name__ == "__main__":
    # Nothing beside this file is imported in place of a library, nor of the standard library: its folder is on no path.
    # Until that is so, nothing but `sys`, which is built in, may be imported: `from __future__` would be.
    _first, sys.path[:] = sys.path[:1], sys.path[1:]
    import os

    # With `python -m migrate` Python puts in the folder that it was started in; the library is where this file is, too.
    _apart = os.path.realpath(os.curdir) if __spec__ else os.path.dirname(os.path.realpath(__file__))
    sys.path[:] = [each for each in _first + sys.path if each not in ("", ".") and os.path.realpath(each) != _apart]

import os
from traceback import extract_tb
from typing import Any, List, Optional, Sequence, Tuple


def _load_what_is_hashed() -> None:
    """Has the package compiled from the very bytes that a certificate is compared with; see phase_1/files.py."""
    path = os.path.join(os.path.dirname(os.path.realpath(__file__)), "phase_1", "files.py")
    with open(path, "rb") as file:
        content = file.read()
    files = sys.modules["phase_1.files"] = type(sys)("phase_1.files")
    files.__file__ = path
    exec(compile(content, path, "exec", dont_inherit=True), files.__dict__)  # noqa: S102 - the package's first module
    files.load_from_memory(content)


if "phase_1" not in sys.modules:
    _load_what_is_hashed()

import psycopg

from phase_1 import certificate as gate
from phase_1 import plan as plans
from phase_1.apply import Sessions, run
from phase_1.certificate import Certificate
from phase_1.connection import redact, where
from phase_1.console import Console
from phase_1.files import load_suite
from phase_1.findings import ERROR, Finding
from phase_1.found import Found, begin_reading, inspect
from phase_1.inventory import DEFAULT_SLUG
from phase_1.options import Options, parse
from phase_1.plan import Loss, Plan, Scripts
from phase_1.problems import DONE, FAILED, PROGRAM, REFUSED, STOPPED, USAGE, VIOLATIONS, Problem, UsageProblem
from phase_1.scripts import require_all
from phase_1.trust import Untrusted, held, require_names
from phase_1.verify import Report, ask, pooler, report

DELETE_WORDS = "PERMANENTLY DELETE"


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs the command line and returns its exit code; every problem is one message, never a traceback."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        options = parse(given)
    except UsageProblem as problem:
        console = Console(as_json="--json" in given, aside=False)
        console.complain(f"usage: {problem}", f"See {PROGRAM} --help.")
        return console.finish(USAGE)
    console = Console(as_json=options.json, aside=options.dry_run)
    if options.action == "demo":
        return _demo(console)
    dsn = ""
    try:
        dsn = where(options.dsn)
        console.hide = lambda text: redact(text, dsn)
        return console.finish(_act(dsn, options, console))
    except Untrusted as problem:
        console.findings(problem.findings, to_error=True)
        console.complain(problem.summary)
        return console.finish(VIOLATIONS if options.action == "verify" else REFUSED)
    except Problem as problem:
        console.complain(str(problem))
        return console.finish(problem.exit_code)
    except KeyboardInterrupt:
        console.complain("interrupted before anything was changed.")
        return console.finish(FAILED)
    except psycopg.Error as error:
        text = " ".join(str(error).split())
        console.complain(f"failed while looking at the database: {text}. Nothing was touched.")
        return console.finish(FAILED)
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        at = extract_tb(error.__traceback__)[-1]
        console.complain(
            f"failed, as nobody has foreseen, in {at.name} ({at.filename}:{at.lineno}): {text}. "
            f"What to do: {PROGRAM} --status says what was done."
        )
        only_looked = options.dry_run or options.action in ("verify", "status")
        return console.finish(FAILED if only_looked else STOPPED)


def _demo(console: Console) -> int:
    sys.modules.setdefault("migrate", sys.modules[__name__])  # which the demo runs
    try:
        load_suite()
        from tests.demo import main as demo  # noqa: PLC0415 - it needs the suite's extra
    except ModuleNotFoundError as error:
        console.complain(
            f"--demo needs the test suite: {error}. What to do: pip install -e '.[suite]' in a clone of the repository."
        )
        return console.finish(USAGE)
    return demo()


def _act(dsn: str, options: Options, console: Console) -> int:
    certificate = _certificate(options, console)
    require_all()
    sessions = Sessions(dsn)
    try:
        if options.action == "verify":
            return _verify(sessions, options, console)
        if options.action == "status":
            return _status(sessions, options, console)
        if options.dry_run:
            return _stages(sessions, options, console, certificate)
        with sessions.alone():
            return _stages(sessions, options, console, certificate)
    finally:
        sessions.close()


def _certificate(options: Options, console: Console) -> Optional[Certificate]:
    """The certificate that was asked for, if it certifies these files; asked before anything is connected to."""
    if options.certificate is None:
        return None
    key = gate.trusted_key(options.trusted_key) if options.trusted_key else None
    certificate = gate.read(options.certificate, key)
    gate.require(certificate)
    if not certificate.trusted:
        state = "signed, but nobody asked by whom: give --trusted-key" if certificate.signed else "UNSIGNED"
        console.say(f"note: the certificate is {state}.", "yellow")
    return certificate


def _stages(sessions: Sessions, options: Options, console: Console, certificate: Optional[Certificate]) -> int:
    """A migration or a rollback, from what is there to the checks afterwards."""
    found, findings, plan, lost = _look(sessions, options, certificate)
    console.found(found)
    console.findings(findings, to_error=True)
    if any(finding.level == ERROR for finding in findings):
        console.complain("refused: the errors above come first. Nothing was touched.")
        return REFUSED
    if not plan.transactions:
        console.say("Nothing to do: " + _nothing_to_do(options), "bold green")
        if options.dry_run:
            console.script(plan.script())
        return DONE
    console.plan(plan)
    others = sum(each.rows for each in lost if each.others)
    if options.action == "rollback":
        console.lost(lost)
    else:
        console.cost(plan)
    if options.dry_run:
        console.script(plan.script())
        return DONE
    if others and not options.force:
        console.complain(
            f"refused: {others:,} rows belong to organizations other than {DEFAULT_SLUG}. Give --force to lose "
            "that. Nothing was touched."
        )
        return REFUSED
    if not options.force:
        if not _confirmed(options, console):
            console.complain("not confirmed: nothing was touched.")
            return REFUSED
        shown = _shown(plan, lost)
        _, _, plan, lost = _look(sessions, options, certificate)
        if _shown(plan, lost) != shown:
            console.complain(
                "refused: what was shown has changed while it was asked. Nothing was touched. What to do: run it again."
            )
            return REFUSED
    run(plan, sessions, options, console)
    if options.action == "rollback":
        console.say("Phase 1 is taken back; the database is as it was before it.", "bold green")
        return DONE
    return _afterwards(sessions, options, console)


def _look(
    sessions: Sessions, options: Options, certificate: Optional[Certificate] = None
) -> Tuple[Found, List[Finding], Plan, List[Loss]]:
    """What is there, what speaks against the run, what is missing, and what a rollback would lose."""
    findings = pooler(sessions.work, sessions.control)
    control = sessions.control
    stage = "rollback" if options.action == "rollback" else "preflight"
    begin_reading(control, options.lock_timeout)
    try:
        found = inspect(control, options)
        findings += ask(control, found, stage)
        if certificate:
            findings += gate.compare(control, certificate, found.options)
        if any(finding.level == ERROR for finding in findings):
            return found, findings, Plan(options.action, found, (), 0, ()), []
        make = plans.rollback if options.action == "rollback" else plans.migration
        plan = make(control, found, Scripts())
        lost = plans.lost(control, plan)
        return found, findings, plan, lost
    finally:
        _end(control)


def _afterwards(sessions: Sessions, options: Options, console: Console) -> int:
    """Integrity, every check, index use and the baseline, stored in the log."""
    try:
        _, made = _report(sessions, options)
        sessions.log("verify", "completed" if not made.violations else "failed", made.as_dict())
    except Untrusted as problem:
        console.findings(problem.findings, to_error=True)
        console.complain(
            "migrated and committed. The checks were not run, since what belongs to other roles would run with the "
            f"rights of this one. What to do: see the errors above, then {PROGRAM} --verify."
        )
        return VIOLATIONS
    except (psycopg.Error, KeyboardInterrupt) as error:
        text = " ".join(str(error).split()) or "interrupted"
        console.complain(f"migrated and committed, but the checks could not be run: {text}. What to do: --verify.")
        return VIOLATIONS
    console.report(made)
    if made.violations:
        console.complain("migrated, but the checks above found violations.")
        return VIOLATIONS
    console.say("Phase 1 is done: every row has a client.", "bold green")
    return DONE


def _verify(sessions: Sessions, options: Options, console: Console) -> int:
    found, made = _report(sessions, options)
    console.remembered(found)
    console.report(made)
    return VIOLATIONS if made.violations else DONE


def _report(sessions: Sessions, options: Options) -> Tuple[Found, Report]:
    control = sessions.control
    begin_reading(control, options.lock_timeout)
    try:
        found = inspect(control, options)
        return found, report(control, found)
    finally:
        _end(control)


def _status(sessions: Sessions, options: Options, console: Console) -> int:
    """What is done, what is not, and the last entries of the log."""
    found, findings, plan, _ = _look(sessions, options)
    console.found(found)
    console.findings(findings)
    if any(finding.level == ERROR for finding in findings):
        console.say("The migration would be refused: see the errors above.", "bold red")
        return DONE
    if not plan.steps:
        console.say("Phase 1 is done.", "bold green")
    else:
        state = "has not begun" if not found.standing else "is not complete"
        console.say(f"Phase 1 {state}.", "bold yellow")
        console.plan(plan)
    entries = _entries(sessions.control, options.lock_timeout)
    console.result["log"] = entries
    console.table("Last entries of the log", ("at", "operation", "status"), [entry[:3] for entry in entries])
    return DONE


def _entries(connection: psycopg.Connection[Any], lock_timeout: int) -> List[Tuple[str, ...]]:
    begin_reading(connection, lock_timeout)
    try:
        require_names(connection, writes=False)
        if "migration_log" not in held(connection):
            return []
        return [
            tuple(map(str, entry))
            for entry in connection.execute(
                "SELECT created_at::timestamptz(0), operation, status, details->>'error' FROM public.migration_log"
                " WHERE phase = 'phase_1' ORDER BY id DESC LIMIT 10"
            )
        ]
    finally:
        _end(connection)


def _confirmed(options: Options, console: Console) -> bool:
    if options.action == "rollback":
        return console.ask_for(DELETE_WORDS)
    return console.ask("Has a backup been taken that can be restored?") and console.ask("Run the migration now?")


def _shown(plan: Plan, lost: Sequence[Loss]) -> Tuple[Any, ...]:
    """What somebody has said yes to, without the numbers that each row of the old application changes."""
    return [step.label for step in plan.steps], plan.remarks, [each for each in lost if each.others]


def _nothing_to_do(options: Options) -> str:
    if options.action == "rollback":
        return "the log does not say that Phase 1 did anything here that still stands."
    return "every step of Phase 1 is done."


def _end(connection: psycopg.Connection[Any]) -> None:
    if not connection.broken:
        connection.execute("ROLLBACK")


if __name__ == "__main__":
    sys.exit(main())
