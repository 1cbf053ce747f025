"""``tox -e mutants``: changes the SQL one thing at a time, and sees which test of the certification notices.

    python -m tests.mutants [--number N | --all] [--seed N] [--only TEXT]

The likeliest tests of a mutant are run first, then all others, until one fails. One that nothing fails on has
survived: a test is missing, or tests/equivalents.py says why nobody could tell it from the original.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

from tests.equivalents import EQUIVALENT
from tests.support.mutation import FILES, INVENTORY, Mutant, mutants
from tests.support.sabotage import BROKEN, PASSED, TIMEOUT, Job, Outcome, run_all, write_report

SCHEMA, ROLLBACK, PREFLIGHT, VERIFY, QUERIES = FILES

#: How many of them a run takes, unless told.
NUMBER = 150
#: The share that has to be noticed, of those that can be.
GOAL = 0.98

#: Seconds without a test that ends, after which a mutant counts as noticed: something waits for ever.
_PATIENCE = 60.0
#: Seconds for the likeliest tests: what they have not noticed by then is left to all the others.
_LIMIT = 25.0

_END_STATE = "test_end_state.py"
_FUNCTIONS = ("test_functions.py", "test_functions_", "test_integrity_")
#: The likeliest tests by file and section, both patterns: the ids contain one of these texts.
_LIKELY: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (SCHEMA, "create_(get|validate)_.*", (*_FUNCTIONS, "test_access.py")),
    (SCHEMA, "create_(organizations|user_organizations|migration_log)", (_END_STATE, "test_access.py")),
    (
        SCHEMA,
        "settings.*|one_at_a_time|lock_tables",
        ("test_sessions_", "test_locks.py", "test_application_waits", "test_run_"),
    ),
    (SCHEMA, ".*pin.*", ("pin", "written", "test_access.py")),
    (
        SCHEMA,
        ".*(client_id|fill).*",
        ("test_client_id", "test_fill", _END_STATE, "client_id", "test_rows.py", "test_locks.py"),
    ),
    (SCHEMA, ".*index.*", ("test_invalid_index", _END_STATE, "test_online.py")),
    (SCHEMA, ".*", (_END_STATE, "test_rows.py", "test_rerun.py")),
    (
        ROLLBACK,
        ".*(check|require|empty|default).*",
        ("test_client_id_that", "test_what_was", "test_fill", "test_online.py"),
    ),
    (ROLLBACK, ".*", ("test_rollback.py", "test_client_id", "test_fill", "test_pins", "test_online.py")),
    (PREFLIGHT, ".*", ("[{section},", "test_preflight_finds_nothing", "test_rollback_names", "test_rollback_is_not")),
    (VERIFY, ".*", ("[{section},", "test_verify.py", "test_preflight_finds_nothing")),
    (QUERIES, ".*", ("test_index_use.py",)),
    (INVENTORY, "TIME_COLUMNS", ("test_time_column",)),
    (INVENTORY, "CHILDREN", _FUNCTIONS),
    (INVENTORY, ".*", (_END_STATE, "test_index_use.py")),
)
#: What takes long, and what others have noticed before it: last.
_SLOW = ("test_model.py", "test_load.py", "test_generated.py", "test_failures.py", "test_locks.py", "_large_")


def likely(mutant: Mutant) -> tuple[str, ...]:
    """The texts that the ids of a mutant's likeliest tests contain, the likeliest first."""
    for file, section, texts in _LIKELY:
        if mutant.file == file and re.fullmatch(section, mutant.section):
            return tuple(text.replace("{section}", mutant.section) for text in texts)
    raise LookupError(f"nothing is likely for {mutant.file}, {mutant.section}")


def sample(whole: Sequence[Mutant], number: int, seed: int) -> list[Mutant]:
    """So many of them, at even distances: from each file, section and operator its share."""
    if number >= len(whole):
        return list(whole)
    start = Random(seed).random()  # noqa: S311 - which ones is no secret
    return [whole[int((start + place) * len(whole) / number)] for place in range(number)]


def main(arguments: list[str]) -> int:
    """Runs the mutants, and returns 0 if enough of them are noticed and every explanation still has its mutant."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("--number", type=int, default=NUMBER, metavar="N", help=f"how many mutants ({NUMBER})")
    parser.add_argument("--all", action="store_true", help="every one")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="which ones (1)")
    parser.add_argument("--only", default="", metavar="TEXT", help="those whose file, section or operator contains it")
    parser.add_argument("--quick", action="store_true", help="the likeliest tests only; a survivor may not be one")
    given = parser.parse_args(arguments)
    began = time.monotonic()
    whole = mutants()
    stale = sorted(EQUIVALENT.keys() - {mutant.key for mutant in whole})
    asked = [each for each in whole if given.only in f"{each.file} {each.section} {each.operator}"]
    chosen = sample(asked, len(asked) if given.all else given.number, given.seed)
    tried = [each for each in chosen if each.key not in EQUIVALENT]
    print(f"{len(chosen)} of {len(whole)} mutants, seed {given.seed}; {len(chosen) - len(tried)} explained", flush=True)
    results = _run(tried, quick=given.quick)
    survivors = [mutant for mutant in tried if results[mutant].outcome == PASSED]
    score = 1 - len(survivors) / len(tried) if tried else 1.0
    seconds = round(time.monotonic() - began, 1)
    write_report(
        "mutants",
        {
            "seed": given.seed,
            "of": len(whole),
            "complete": not given.quick and not given.only,
            "score": round(score, 4),
            "seconds": seconds,
            "stale explanations": [list(key) for key in stale],
            "equivalent": [{**_row(each), "why": EQUIVALENT[each.key]} for each in chosen if each.key in EQUIVALENT],
            "mutants": [{**_row(each), **_result(results[each])} for each in tried],
        },
    )
    for mutant in survivors:
        print(f"survived{' the likeliest tests' if given.quick else ''}: {_sentence(mutant)}")
    for key in stale:
        print(f"stale: there is no such mutant any more: {key}")
    counts = Counter(results[each].outcome for each in tried)
    print(f"score {score:.1%} of {len(tried)}, {dict(counts)}, {seconds} s")
    return 1 if stale or score < GOAL else 0


def _run(tried: Sequence[Mutant], *, quick: bool) -> dict[Mutant, Outcome]:
    """What became of each: its likeliest tests for all of them, then every other test for those that are left."""
    results: dict[Mutant, Outcome] = {}
    jobs = {
        Job(str(number), (each.change,), first=likely(each), others="never", patience=_PATIENCE, limit=_LIMIT): each
        for number, each in enumerate(tried)
    }
    for job, outcome in run_all(jobs):
        results[jobs[job]] = outcome
        print(f"{outcome.seconds:6.1f} s  {_sentence(jobs[job])}: {_end(outcome)}", flush=True)
    if quick:
        return results
    left = {
        Job(each.name, each.changes, first=each.first, last=_SLOW, patience=_PATIENCE): mutant
        for each, mutant in jobs.items()
        if results[mutant].outcome == PASSED
    }
    for job, outcome in run_all(left) if left else []:
        results[left[job]] = outcome
        print(f"{outcome.seconds:6.1f} s  {_sentence(left[job])}: {_end(outcome)}", flush=True)
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
