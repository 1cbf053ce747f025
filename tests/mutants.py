"""``tox -e mutants``: changes the SQL one thing at a time, and sees which test of the certification notices.

    python -m tests.mutants [--python] [--number N | --all] [--seed N] [--only TEXT]

The likeliest tests of a mutant are run first, then all others, until one fails. With ``--python`` it is the runner
that is changed, by the operators of Cosmic Ray, and the tests are those that execute its line, for some minutes at
most: what is noticed only later counts as not noticed. One that nothing fails on has survived: a test is missing,
or tests/equivalents.py says why nobody could tell it from the original.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from math import inf
from random import Random
from typing import Any

from tests.equivalents import ALIKE, EQUIVALENT
from tests.support.lines import measured
from tests.support.mutation import INVENTORY, QUERIES, ROLLBACK, SCHEMA, Mutant, mutants
from tests.support.sabotage import BROKEN, PASSED, TIMEOUT, Job, Outcome, run_all, write_report

PREFLIGHT, VERIFY, TRUST = (f"sql/{folder}/.*" for folder in ("preflight", "verify", "trust"))

#: How many of them a run takes, unless told.
NUMBER = 150
#: The share that has to be noticed, of those that can be: of the SQL, and of the runner.
GOAL, GOAL_OF_PYTHON = 0.98, 0.85

#: Seconds without a test that ends, after which a mutant counts as noticed: something waits for ever.
_PATIENCE = 60.0
#: Seconds for the likeliest tests: what they have not noticed by then is left to all the others.
_LIMIT = 40.0
#: Seconds for all the others of a mutant of the runner: some of its lines are executed by every test there is.
_LONG_LIMIT = 120.0

#: What is said of a survivor whose tests have been run.
_UNNOTICED = "none of the tests that were run failed"

_END_STATE = "test_end_state.py"
_FUNCTIONS = ("test_functions.py", "test_functions_", "test_integrity_")
#: The likeliest tests by file and section, both patterns: the ids contain one of these texts.
_LIKELY: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (SCHEMA, "create_(get|validate)_.*", (*_FUNCTIONS, "test_access.py")),
    (SCHEMA, "create_(organizations|user_organizations|migration_log)", (_END_STATE, "test_access.py")),
    (
        SCHEMA,
        "settings.*|one_at_a_time|lock_tables",
        (
            "test_session_of_", "test_sessions_", "test_settings", "test_server_leaves", "test_run_that_hangs",
            "test_script_keeps", "test_users_that_are_hidden", "test_locks.py", "test_application_waits", "test_run_",
        ),
    ),
    (".*", ".*partition.*|attach_index", ("test_partitioned.py", "[{section},", "test_locks.py")),
    (SCHEMA, ".*pin.*", ("pin", "written", "test_access.py")),
    (
        SCHEMA,
        ".*(client_id|fill).*",
        ("test_client_id", "test_fill", _END_STATE, "client_id", "test_rows.py", "test_locks.py"),
    ),
    (SCHEMA, "add_memberships", ("test_users_become", _END_STATE, "test_rerun.py")),
    (SCHEMA, ".*index.*", ("test_invalid_index", _END_STATE, "test_online.py")),
    (SCHEMA, ".*", (_END_STATE, "test_rows.py", "test_rerun.py")),
    (ROLLBACK, "keep_to_.*", ("test_what_comes", "test_rollback_asks")),
    (ROLLBACK, "delete_default_.*", ("test_row_that_is", "test_rows_that_refer", "test_what_was", "test_what_comes")),
    (
        ROLLBACK,
        ".*(check|require|empty|default).*",
        ("test_client_id_that", "test_what_was", "test_fill", "test_check_of_a_run", "test_online.py"),
    ),
    (ROLLBACK, ".*", ("test_rollback.py", "test_client_id", "test_fill", "test_pins", "test_online.py")),
    (
        PREFLIGHT,
        "(prepared_)?transactions_.*|publications_.*|service_role_.*",
        ("[{section},", "test_prepared_", "test_transaction_", "test_publication_", "test_preflight_warns"),
    ),
    (PREFLIGHT, ".*", ("[{section},", "test_preflight_finds_nothing", "test_rollback_names", "test_rollback_is_not")),
    (VERIFY, "clients_are_isolated|writes_are_pinned", ("[{section},", "test_isolation_", "pins")),
    (VERIFY, "default_is_still_there", ("test_verify_says_that_the_default",)),
    (VERIFY, ".*", ("[{section},", "test_verify.py", "test_preflight_finds_nothing")),
    (TRUST, ".*", ("test_trust.py",)),
    (QUERIES, ".*", ("test_index_use.py",)),
    (INVENTORY, "TIME_COLUMNS", ("test_time_column",)),
    (INVENTORY, "CHILDREN", _FUNCTIONS),
    (INVENTORY, ".*", (_END_STATE, "test_index_use.py")),
    ("migrate.py", ".*", ("test_command_line.py", "test_gate.py", "test_rerun.py", "test_rollback.py")),
    (
        "phase_1/apply.py",
        ".*",
        (
            "test_failures.py", "test_obstacles.py", "test_online.py", "test_rerun.py", "test_console.py",
            "test_locks.py", "test_rollback.py", "test_command_line.py",
        ),
    ),
    ("phase_1/certificate.py", ".*", ("test_gate.py", "test_certificate.py")),
    ("phase_1/connection.py", ".*", ("test_command_line.py", "test_secrets.py", "test_obstacles.py")),
    ("phase_1/console.py", ".*", ("test_console.py", "test_command_line.py", "test_verify.py", "test_preflight.py")),
    ("phase_1/files.py", ".*", ("test_files.py", "test_gate.py")),
    ("phase_1/fingerprint.py", ".*", ("test_fingerprint.py",)),
    ("phase_1/found.py", ".*", (_END_STATE, "test_preflight.py", "test_partitioned.py", "test_rollback.py")),
    ("phase_1/journal.py", ".*", ("test_failures.py", "test_rerun.py")),
    ("phase_1/options.py", ".*", ("test_command_line.py", "test_access.py")),
    ("phase_1/plan.py", ".*", (_END_STATE, "test_rerun.py", "test_online.py", "test_rollback.py", "test_part")),
    ("phase_1/problems.py", ".*", ("test_command_line.py",)),
    ("phase_1/scripts.py", ".*", ("test_scripts.py",)),
    ("phase_1/(trust|findings).py", ".*", ("test_trust.py", "test_verify.py")),
    ("phase_1/shown.py", ".*", ("test_shown.py", "test_secrets.py")),
    ("phase_1/verify.py", ".*", ("test_verify.py", "test_command_line.py")),
)  # fmt: skip
#: What takes long, and what others have noticed before it: last.
_SLOW = ("test_model.py", "test_load.py", "test_generated.py", "test_failures.py", "test_locks.py", "_large_", "tools/")

#: Where the tests are that notice a mutant: of the SQL, and of the runner.
_PATHS = ("tests/certification",)
_PATHS_OF_PYTHON = (
    "tests/certification",
    *(
        f"tests/tools/test_{each}.py"
        for each in ("command_line", "console", "certificate", "files", "fingerprint", "scripts", "secrets")
    ),
)


def likely(mutant: Mutant) -> tuple[str, ...]:
    """The texts that the ids of a mutant's likeliest tests contain, the likeliest first."""
    for file, section, texts in _LIKELY:
        if re.fullmatch(file, mutant.file) and re.fullmatch(section, mutant.section):
            return tuple(text.replace("{section}", mutant.section) for text in texts)
    raise LookupError(f"nothing is likely for {mutant.file}, {mutant.section}")


def explained(mutant: Mutant) -> str:
    """Why nobody could tell it from the original; nothing where somebody could."""
    if mutant.key in EQUIVALENT:
        return EQUIVALENT[mutant.key]
    return next((why for *patterns, why in ALIKE if _is_like(mutant, patterns)), "")


def _is_like(mutant: Mutant, patterns: Sequence[str]) -> bool:
    return all(map(re.fullmatch, patterns, (mutant.file, mutant.operator, mutant.text)))


def stale(whole: Sequence[Mutant]) -> list[tuple[str, ...]]:
    """The explanations for which there is no mutant any more, of the files that these are mutants of."""
    files = {mutant.file for mutant in whole}
    keys = {key for key in EQUIVALENT if key[0] in files} - {mutant.key for mutant in whole}
    patterns = [
        patterns
        for *patterns, _ in ALIKE
        if any(re.fullmatch(patterns[0], file) for file in files)
        and not any(_is_like(each, patterns) for each in whole)
    ]
    return [*sorted(keys), *map(tuple, patterns)]


def sample(whole: Sequence[Mutant], number: int, seed: int) -> list[Mutant]:
    """So many of them, at even distances: from each file, section and operator its share."""
    if number >= len(whole):
        return list(whole)
    start = Random(seed).random()  # noqa: S311 - which ones is no secret
    return [whole[int((start + place) * len(whole) / number)] for place in range(number)]


def main(arguments: list[str]) -> int:
    """Runs the mutants, and returns 0 if enough of them are noticed and every explanation still has its mutant."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("--python", action="store_true", help="of the runner, instead of the SQL")
    parser.add_argument("--number", type=int, default=NUMBER, metavar="N", help=f"how many mutants ({NUMBER})")
    parser.add_argument("--all", action="store_true", help="every one")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="which ones (1)")
    parser.add_argument("--only", default="", metavar="TEXT", help="those whose file, section or operator contains it")
    parser.add_argument("--quick", action="store_true", help="the likeliest tests only; a survivor may not be one")
    given = parser.parse_args(arguments)
    began = time.monotonic()
    whole = _of_python() if given.python else mutants()
    gone = stale(whole)
    asked = [each for each in whole if given.only in f"{each.file} {each.section} {each.operator}"]
    chosen = sample(asked, len(asked) if given.all else given.number, given.seed)
    tried = [each for each in chosen if not explained(each)]
    print(f"{len(chosen)} of {len(whole)} mutants, seed {given.seed}; {len(chosen) - len(tried)} explained", flush=True)
    results = (_run_python if given.python else _run)(tried, quick=given.quick)
    survivors = [mutant for mutant in tried if results[mutant].outcome == PASSED]
    score = 1 - len(survivors) / len(tried) if tried else 1.0
    seconds = round(time.monotonic() - began, 1)
    write_report(
        "python_mutants" if given.python else "mutants",
        {
            "seed": given.seed,
            "of": len(whole),
            "complete": not given.quick and not given.only,
            "score": round(score, 4),
            "seconds": seconds,
            "stale explanations": [list(each) for each in gone],
            "killed": len(tried) - len(survivors),
            "survived": [{**_row(each), "why": results[each].message or _UNNOTICED} for each in survivors],
            "equivalent": [{**_row(each), "why": explained(each)} for each in chosen if explained(each)],
            "mutants": [{**_row(each), **_result(results[each])} for each in tried],
        },
    )
    for mutant in survivors:
        print(f"survived{' the likeliest tests' if given.quick else ''}: {_sentence(mutant)}")
    for each in gone:
        print(f"stale: there is no such mutant any more: {each}")
    counts = Counter(results[each].outcome for each in tried)
    print(f"score {score:.1%} of {len(tried)}, {dict(counts)}, {seconds} s")
    return 1 if gone or score < (GOAL_OF_PYTHON if given.python else GOAL) else 0


def _of_python() -> list[Mutant]:
    try:
        made: list[Mutant] = import_module("tests.support.python_mutation").python_mutants()
    except ModuleNotFoundError as missing:
        sys.exit(f"{missing}; --python needs Cosmic Ray: pip install -e '.[suite,mutants]'")
    return made


def _run(tried: Sequence[Mutant], *, quick: bool) -> dict[Mutant, Outcome]:
    """What became of each: its likeliest tests for all of them, then every other test for those that are left."""
    jobs = {
        Job(
            str(number), (each.change,), _PATHS, first=likely(each), others="never", patience=_PATIENCE, limit=_LIMIT
        ): each
        for number, each in enumerate(tried)
    }
    results = _outcomes(jobs)
    if not quick:
        results |= _outcomes(
            {
                Job(each.name, each.changes, _PATHS, first=each.first, last=_SLOW, patience=_PATIENCE): mutant
                for each, mutant in jobs.items()
                if results[mutant].outcome == PASSED
            }
        )
    return results


def _run_python(tried: Sequence[Mutant], *, quick: bool) -> dict[Mutant, Outcome]:
    """The same with the tests that execute its line: for a while for all of them, then the rest of these tests."""
    lines = measured(_PATHS_OF_PYTHON)
    left = {each: lines.noticing(each.file, each.line, likely(each)) for each in tried}
    results = dict.fromkeys(tried, Outcome(PASSED, message="no test executes it"))
    for limit, slowest in ((_LIMIT, _PATIENCE / 4),) if quick else ((_LIMIT, _PATIENCE / 4), (_LONG_LIMIT, inf)):
        jobs = {}
        for number, (each, tests) in enumerate(left.items()):
            chosen = tuple(test for test in tests if lines.seconds[test] <= slowest)
            if chosen:
                files = tuple(sorted({test.partition("::")[0] for test in chosen}))
                patience = max(_PATIENCE, 4 * max(lines.seconds[test] for test in chosen))
                job = Job(str(number), (each.change,), files, tests=chosen, patience=patience, limit=limit)
                jobs[job] = each
        results |= _outcomes(jobs)
        for job, each in jobs.items():
            seen = job.tests if results[each].outcome != PASSED else job.tests[: results[each].ran]
            left[each] = [test for test in left[each] if test not in seen]
        left = {each: tests for each, tests in left.items() if tests and results[each].outcome == PASSED}
    return results


def _outcomes(jobs: dict[Job, Mutant]) -> dict[Mutant, Outcome]:
    results = {}
    for job, outcome in run_all(jobs) if jobs else ():
        results[jobs[job]] = outcome
        print(f"{outcome.seconds:6.1f} s  {_sentence(jobs[job])}: {_end(outcome)}", flush=True)
    return results


def _sentence(mutant: Mutant) -> str:
    return f"{mutant.file}:{mutant.line} {mutant.section}: {mutant.operator}: {mutant.text}"


def _end(outcome: Outcome) -> str:
    return {PASSED: outcome.message or "SURVIVED", TIMEOUT: "timeout", BROKEN: f"broken: {outcome.message[:200]}"}.get(
        outcome.outcome, outcome.test
    )


def _row(mutant: Mutant) -> dict[str, Any]:
    return {key: value for key, value in vars(mutant).items() if key != "start"}


def _result(outcome: Outcome) -> dict[str, Any]:
    return {
        "outcome": "survived" if outcome.outcome == PASSED else "killed",
        "by": outcome.test if outcome.outcome != TIMEOUT else f"timeout of {outcome.test}",
        "claims": list(outcome.claims),
        "seconds": outcome.seconds,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
