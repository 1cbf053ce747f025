"""The SQL as it runs, linted by squawk: the rules of others, each exception with its reason."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

import pytest

import migrate
from tests.plugins.database import Templates

#: Beside this Python, whose environment need not be activated.
SQUAWK = str(Path(sysconfig.get_path("scripts"), "squawk"))

#: What is left out of squawk's rules, and why, for each way to run.
TRANSACTIONAL = {
    "require-concurrent-index-creation": "CONCURRENTLY cannot be in the transaction; --online has it",
    "constraint-missing-not-valid": "validated in the same transaction: its locks are held until COMMIT anyway, "
    "and --online has the two steps apart",
}
ONLINE = {
    "prefer-robust-stmts": "IF NOT EXISTS takes an invalid index for a good one; what is there is looked up before",
}
ROLLBACK = {
    "ban-drop-column": "a rollback drops what the migration added",
    "ban-drop-constraint": "a rollback drops what the migration added",
    "ban-drop-function": "a rollback drops what the migration added",
    "ban-drop-table": "a rollback drops what the migration added",
}
ROLLBACK_TRANSACTIONAL = {
    **ROLLBACK,
    "require-concurrent-index-deletion": "CONCURRENTLY cannot be in the transaction; --online has it",
}


@pytest.mark.parametrize(
    ("kind", "arguments", "excluded"),
    [
        pytest.param("", [], TRANSACTIONAL, id="transactional"),
        pytest.param("", ["--online"], ONLINE, id="online"),
        pytest.param("-migrated", ["--rollback"], ROLLBACK_TRANSACTIONAL, id="rollback"),
        pytest.param("-migrated", ["--rollback", "--online"], {**ROLLBACK, **ONLINE}, id="rollback-online"),
    ],
)
def test_script_passes_squawk_with_every_exception_explained(
    templates: Templates,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    kind: str,
    arguments: list[str],
    excluded: dict[str, str],
) -> None:
    """The rendered SQL breaks no rule of squawk but those that are left out with a reason.

    A statement that rewrites a table or blocks its readers would get into a release unnoticed.
    """
    database = templates.clone(f"deployed{kind}")
    code = migrate.main(["--dsn", database.owner_dsn, "--dry-run", *arguments])
    database.drop()
    assert code == 0
    script = tmp_path / "script.sql"
    # squawk reads SQL, not psql's own commands.
    script.write_text("\n".join(line for line in capsys.readouterr().out.splitlines() if not line.startswith("\\")))

    def squawk(*options: str) -> subprocess.CompletedProcess[str]:
        command = [SQUAWK, "--pg-version", "12", "--reporter", "gcc", *options, str(script)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = squawk("--exclude", ",".join(excluded))
    assert done.returncode == 0, done.stdout + done.stderr
    # An exception that nothing needs any more is not left standing.
    needed = squawk().stdout
    assert [rule for rule in excluded if rule not in needed] == []
