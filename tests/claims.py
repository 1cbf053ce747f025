"""What is certified: one list of promises, in the order of SPEC's sections, and one for staging.

A test says with ``@pytest.mark.claim("id")`` which of them it certifies.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """A promise: its id, a sentence in the present tense, and the section of the specification."""

    id: str
    sentence: str
    section: str


_TITLES = {
    "2": "The end state",
    "3": "The database it finds",
    "4": "Functions",
    "5": "Who may do what",
    "6": "The files",
    "7": "Getting there",
    "8": "Going back",
    "9": "The runner",
    "10": "Staging",
}


def section_title(section: str) -> str:
    """The heading that a claim stands under."""
    return _TITLES[section.partition(".")[0]]


def _claims(section: str, **sentences: str) -> tuple[Claim, ...]:
    return tuple(Claim(name.replace("_", "-"), sentence, section) for name, sentence in sentences.items())


CLAIMS: tuple[Claim, ...] = (
    *_claims(
        "2.1",
        organizations_shape="organizations has the columns, types, defaults and keys that were promised.",
        memberships_shape="user_organizations has its promised shape, is unique by user and organization, and goes "
        "with its user.",
    ),
    *_claims(
        "2.2",
        migration_log_shape="migration_log has its promised shape, and the documented queries work on it.",
    ),
    *_claims(
        "2.3",
        client_id_column="Every tenant table has client_id uuid NOT NULL with the default organization as its default "
        "and a validated foreign key that restricts.",
        old_application_works="The old application's statements give the same results before, after, and after the "
        "rollback.",
    ),
    *_claims(
        "2.4",
        existing_users_are_members="Every user who is there becomes an active member of the default organization.",
    ),
    *_claims(
        "2.5",
        indexes_present="Every promised index is there, valid, on the promised columns, and foreign keys have theirs.",
        index_serves_its_query="Every client-scoped query is served by the index that it names, and every index "
        "serves one.",
    ),
    *_claims("2.7", statistics_present="The planner has statistics on client_id."),
    *_claims(
        "3",
        time_columns_resolved="The time column of each table is found under the names that it is known by, or refused.",
        existing_client_id_kept="A client_id that is there already keeps its values; only its NULLs are filled.",
        invalid_index_rebuilt="An invalid index of ours is dropped and built again; another one is refused.",
        preflight_refuses="What would fail or lose something is refused before anything is touched, with what to do.",
        preflight_warns="What may hurt is named in a warning, and nothing that does not.",
        no_superuser_needed="The owner of the tables can run it; no superuser is needed.",
        nothing_foreign_runs="Nothing that belongs to other roles runs with the rights of whoever migrates, checks or "
        "rolls back.",
    ),
    *_claims(
        "4",
        organization_of_user="get_user_organization_id answers as specified in every case.",
        client_access="validate_client_access is true for members of active organizations only, and never NULL.",
        data_integrity="validate_client_data_integrity finds every row whose client is wrong, and no other.",
    ),
    *_claims(
        "5",
        functions_are_hardened="The functions are STABLE, fix their search_path, and only who may can execute them.",
        access_matrix="Each role has exactly the promised privileges on the new tables and functions.",
        attacks_fail="What anon and a signed-in user try on the new objects fails, and would succeed unprotected.",
        writes_pinned="By every statement that a policy is asked of, the web API's roles write rows of the default "
        "organization only, unless the application keeps its clients apart itself.",
        nothing_else_granted="Grants, policies and row security of what was there are untouched.",
        lints_of_others_stay_quiet="A linter for such databases finds nothing after the migration that was not "
        "found before.",
    ),
    *_claims(
        "6",
        verify_finds_violations="Every check of --verify finds its violation, names it, and finds nothing else.",
    ),
    *_claims(
        "7",
        generated_rows_survive="Whatever the rows hold, they are migrated and taken back as they were.",
        generated_schemas_survive="Schemas that differ are migrated and restored, or refused by the right check.",
        rows_untouched="No row that was there is rewritten, and no trigger of the application fires.",
        rerun_does_nothing="A second run has nothing to do, says so, and changes nothing.",
        dry_run_is_what_runs="The dry run prints, byte for byte, what runs; psql runs it with the same result.",
        dry_run_only_reads="The dry run changes nothing.",
        partitioned_tables_too="A partitioned tenant table is migrated and taken back in both modes, and partitions to "
        "come are part of it.",
        modes_end_alike="The transactional and the online mode end in the same catalog, and so do their rollbacks.",
        failure_leaves_no_trace="A failure at any statement leaves schema and rows as they were.",
        failure_is_logged="A failure is in the log, with its step and its reason, after everything else is undone.",
        online_resumes="The online mode, stopped at any statement, is completed by a second run or taken back.",
        faults_are_survived="Whatever is killed, cut or frozen at any moment of a run: it ends, run again, where it "
        "would have, or is taken back, and says what is true.",
        locks_are_as_stated="Each step of the online mode takes the locks that its header says, and no stronger one.",
        online_locks_nobody_out="In the online mode no table is read while ACCESS EXCLUSIVE is held on it.",
        load_sees_no_failure="No statement of the old application fails while the online mode is at work.",
        acknowledged_rows_stay="What the application was told is written while the online mode is at work stays.",
        stalls_are_bounded="Nobody waits for the migration longer than the lock timeout, 100 ms, and what is usual.",
        lock_waits_give_way="The migration gives way to the application's locks, names who holds them, and retries.",
        commit_verdict_is_read_from_server="What became of a COMMIT is read from the server, not from an error.",
        settings_do_not_leak="No setting of the migration outlives it in a session, and none of the role's or the "
        "database's changes how it ends.",
        one_runner_at_a_time="A second runner says who is at work, and exits.",
        cost_is_foreseen="The transactional mode says how long it will hold its locks, and when --online is better.",
        baseline_recorded="The checks and the baseline of every client-scoped query are stored in the log.",
    ),
    *_claims(
        "8",
        rollback_restores_schema="After the rollback the schema is equal to the one before, down to grants.",
        rollback_restores_rows="After the rollback the rows are equal to those before.",
        rollback_stops_at_dependents="What was built on top is named, stops the rollback, and is never cascaded to.",
        rollback_shows_what_is_lost="The rollback says by organization what is lost, and asks for the words.",
        model_agrees="After any history of migrations, failures, rollbacks and everyday changes the database is what a "
        "model of the promises says.",
    ),
    *_claims(
        "9",
        breaking_changes_are_known="What breaks is exactly what is written down.",
        asks_before_changing="Nothing is changed without a yes, or --force.",
        certificate_gates="With a certificate only what it certifies is run; with the trusted key nobody else can make "
        "one.",
        schema_is_known="A schema that was certified is known again at any time, and one that was not is named by "
        "what differs.",
        exit_codes="Each outcome has its exit code and one clear message.",
        secrets_stay_secret="No password is ever printed, logged or reported.",  # noqa: S106 - a sentence
    ),
)

#: What ``pytest -m staging`` finds out, by the state that the database is in; the rest does not apply.
STAGING_ALWAYS = _claims(
    "10",
    staging_catalog_unchanged="The catalog of the staging database is the same after the run as before it.",
    staging_rows_unchanged="No row of the staging database has come or gone during the run.",
)
STAGING_NOT_MIGRATED = _claims(
    "10",
    staging_preflight="Preflight finds no error on staging.",
    staging_rehearsal="Staging's schema, filled with generated rows, is migrated, passes every check, and comes back "
    "as it was.",
    staging_estimate="The time, WAL and disk that the migration will take follow from the rehearsal and the real "
    "sizes.",
)
STAGING_MIGRATED = _claims(
    "10",
    staging_checks="Every check of --verify passes on staging, and no row disagrees with what it belongs to.",
    staging_index_use="Every client-scoped query of the largest, the median and the smallest client is served by an "
    "index, and reads few pages for its rows.",
    staging_functions="The functions answer for the real memberships as a straightforward query does.",
)


def markdown() -> str:
    """The claims as the table of README.md; ``python -m tests.claims`` prints it."""
    lines = ["| claim | what is promised |", "| --- | --- |"]
    lines += [f"| `{claim.id}` | {claim.sentence} |" for claim in CLAIMS]
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown())
