"""The mutants that nobody could tell from the original, and why: tests/mutants.py does not run them."""

from __future__ import annotations

_SHORTER = (
    "a column of an index that is an expression has no name: with the outer join the list of names has a NULL "
    "there, with the inner one it is shorter, and neither is equal to the names that are wanted"
)
_OF_12 = "PostgreSQL 13 and later never run it; on 12 test_extension_that_the_migration_needed_goes_with_it fails"

#: By file, section, operator, and the line with the change in it.
EQUIVALENT: dict[tuple[str, str, str, str], str] = {
    (
        "sql/phase_1_multitenant_schema.sql",
        "create_pgcrypto",
        "statement left out",
        "[CREATE EXTENSION pgcrypto WITH SCHEMA public; → ]",
    ): _OF_12,
    (
        "sql/phase_1_rollback.sql",
        "drop_pgcrypto",
        "statement left out",
        "[DROP EXTENSION pgcrypto; → ]",
    ): _OF_12,
    (
        "sql/preflight/server_takes_writes.sql",
        "server_takes_writes",
        "condition left out",
        "WHERE [pg_is_in_recovery() OR → ](SELECT reset_val FROM pg_settings"
        " WHERE name = 'default_transaction_read_only') = 'on';",
    ): "a standby can tell, and tests/tools/test_command_line.py has one; mutants of the SQL are not tried on it",
    (
        "sql/preflight/index_name_is_free.sql",
        "index_name_is_free",
        "LEFT JOIN narrowed",
        "[LEFT JOIN → JOIN] pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k - 1]",
    ): _SHORTER,
    (
        "sql/preflight/columns_are_not_granted_one_by_one.sql",
        "columns_are_not_granted_one_by_one",
        "condition left out",
        "JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 [AND NOT a.attisdropped → ]",
    ): "PostgreSQL 18 forgets the grants on a column that is dropped; on 12, `pytest --pg 12`, they are counted",
    (
        "sql/preflight/transactions_are_short.sql",
        "transactions_are_short",
        "comparison moved",
        "WHERE datname = current_database() AND xact_start[ < → <= ]now() - INTERVAL '5 s'",
    ): "a transaction would have to be five seconds old to the microsecond",
    (
        "sql/preflight/transactions_can_be_seen.sql",
        "transactions_can_be_seen",
        "condition left out",
        "WHERE a.backend_type IS NULL [AND a.usesysid IS NOT NULL → ]",
    ): "only autovacuum is nobody's, and it would have to hold its lock at that very moment",
    (
        "sql/verify/indexes_are_there.sql",
        "indexes_are_there",
        "LEFT JOIN narrowed",
        "[LEFT JOIN → JOIN] pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k - 1]",
    ): _SHORTER,
    (
        "sql/verify/indexes_are_there.sql",
        "indexes_are_there",
        "ORDER BY dropped",
        "LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k - 1][ ORDER BY k → ])",
    ): "the series is read in its order by every plan seen, which no manual promises",
}

_NEVER_TWICE = "two catalogs have the same OID only once the counter, which is one for all of them, has gone round"
_FROZEN = "that nothing changes it is said to the reader and to mypy; nothing does"
_A_CHOICE = "how long, how often or how many is a choice: a little more or less is as good"
_NO_SUCH_SERVER = "only a server differs that is not there: between two releases, or the first one of a major version"
_THE_CLOCK = "the clock would have to stand at exactly that moment"
_BY_NAME = "nobody gives it by its place"
_ONE = "there is one of them, or each will do"
_KEPT = "it is read as often as it is asked for: slower, and the same"
_LOOKS = "how many digits or blanks: nobody who reads it takes it for something else"

#: The files of the runner; the inventory is among those of the SQL.
_RUNNER = r"(migrate|phase_1/(?!inventory)\w+)\.py"

#: Those that are many of a kind: by file, operator, and the line with the change in it, each a pattern.
ALIKE: tuple[tuple[str, str, str, str], ...] = (
    (r".*\.sql", "condition left out", r".*\[(AND )?\w+\.(ref)?classid = [^\[]*\].*", _NEVER_TWICE),
    (r".*\.sql", "comparison moved", r".*\battnum\[ > → >= \]0\b.*", "no column has the number 0"),
    (_RUNNER, "ReplaceTrueWithFalse", r"@dataclass\(frozen=\[Tru → Fals\]e\)", _FROZEN),
    (_RUNNER, "ReplaceBinaryOperator_Mul_Div", r"def .*\[\* → /\].*", _BY_NAME),
    (
        _RUNNER,
        "ReplaceComparisonOperator_(Gt_GtE|Lt_LtE)",
        r".*time\.monotonic\(\).* [<>]\[ → =\] deadline.*",
        _THE_CLOCK,
    ),
    (_RUNNER, "NumberReplacer", r".*version >= .*\d\].*", _NO_SUCH_SERVER),
    (_RUNNER, "ReplaceComparisonOperator_GtE_Gt", r".*version >\[= → \] \d+.*", _NO_SUCH_SERVER),
    (_RUNNER, "NumberReplacer", r".* // \[10000 → 9999\].*", _NO_SUCH_SERVER),
    ("phase_1/connection.py", ".*", r"if .*server_version <\[ → =\] OLDEST_MAJOR \* 10000:", _NO_SUCH_SERVER),
    ("phase_1/connection.py", ".*", r"if .*server_version < OLDEST_MAJOR \* \[10000 → 9999\]:", _NO_SUCH_SERVER),
    (
        "phase_1/apply.py",
        "NumberReplacer",
        r"(RECONNECT|PARTING)_SECONDS = .*|LOOK_SECONDS = \[0 .*|LONGEST_PAUSE = .*",
        _A_CHOICE,
    ),
    ("phase_1/apply.py", "NumberReplacer", r"time\.sleep\(\[0 → 1\]\.5\).*", _A_CHOICE),
    ("phase_1/apply.py", "NumberReplacer", r"pending = wait\(pending, LOOK_SECONDS / \[2 → .\]\).*", _A_CHOICE),
    ("phase_1/apply.py", "ReplaceBinaryOperator_Div_Mul", r"pending = wait\(.*SECONDS \[/ → \*\] 2\).*", _A_CHOICE),
    ("phase_1/apply.py", "NumberReplacer", r"session\.cancel_safe\(timeout=\[5 → .\]\)", _A_CHOICE),
    ("phase_1/apply.py", "NumberReplacer", r"deadline = .*_after / (\[1000 → 999\]|100\[0 → 1\])", _A_CHOICE),
    ("phase_1/apply.py", "NumberReplacer", r"deadline = .*\(\[0 → -?1\] if self\._stays_away else wait\)", _A_CHOICE),
    ("phase_1/apply.py", "NumberReplacer", r"for _ in range\(\[2 → 3\]\):", _A_CHOICE),
    (
        "phase_1/connection.py",
        "NumberReplacer",
        r"\"(connect_timeout|keepalives_\w+|tcp_user_timeout)\": .*",
        _A_CHOICE,
    ),
    ("phase_1/found.py", "NumberReplacer", r"(BATCH|ADVISORY_LOCK) = .*", _A_CHOICE),
    ("phase_1/plan.py", "NumberReplacer", r"INDEX_ENTRY_BYTES = .*", _A_CHOICE),
    ("phase_1/verify.py", "NumberReplacer", r"_POOLER_ROUNDS = .*", _A_CHOICE),
    ("phase_1/apply.py", "NumberReplacer", r".*\b(steps|builds|queue|failures)\[\[0 → -1\]\].*", _ONE),
    ("phase_1/connection.py", "NumberReplacer", r"return row\[\[0 → -1\]\] if row else None", _ONE),
    ("phase_1/verify.py", "NumberReplacer", r".*section\.render\(.*\)\[\[0 → -1\]\].*", _ONE),
    (_RUNNER, "RemoveDecorator", r"\[ @lru_cache.* → \].*", _KEPT),
    ("phase_1/connection.py", "NumberReplacer", r"@lru_cache\(maxsize=\[1 → .\]\)", _KEPT),
    ("phase_1/console.py", "NumberReplacer", r"sys\.stdout\.write\(json\.dumps\(.* indent=\[2 → .\].*", _LOOKS),
    ("phase_1/console.py", "NumberReplacer", r"\"seconds\": round\(plan\.seconds, \[1 → .\]\),", _LOOKS),
    ("phase_1/verify.py", "NumberReplacer", r"milliseconds=round\(.*, \[3 → .\]\),", _LOOKS),
    (
        "migrate.py",
        "ReplaceFalseWithTrue",
        r"console = Console\(.*, aside=\[Fals → Tru\]e\)",
        "all that it says is an error",
    ),
    (
        "phase_1/apply.py",
        "ReplaceTrueWithFalse",
        r"super\(\)\.__init__\(daemon=\[Tru → Fals\]e\)",
        "it is always stopped; only a Ctrl-C between two statements could have it left over",
    ),
    (
        "phase_1/apply.py",
        "NumberReplacer",
        r"self\._watch\.progress\(min\(share, \[1 → 2\]\.0\)\)",
        "PostgreSQL may say more than there is by its estimate of the rows; no build of ours gets it to",
    ),
    (
        "phase_1/apply.py",
        "ReplaceFalseWithTrue",
        r"self\.committing = \[Fals → Tru\]e",
        "the first statement says whether it is a COMMIT before it is sent",
    ),
)
