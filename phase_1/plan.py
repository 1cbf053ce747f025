"""What is missing: the steps that are not done, as the exact statements that will run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import psycopg

from phase_1 import journal
from phase_1.connection import value
from phase_1.found import Found, FoundTable, bounds
from phase_1.inventory import NEW_TABLES
from phase_1.scripts import ROLLBACK, SCHEMA, Section, Value, identifier, read
from phase_1.shown import printable

#: What opens every transaction, whatever the role or the database has by default. In REPEATABLE READ the snapshot is
#: taken before the locks are had: a user who signs up while LOCK TABLE waits would never be seen.
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE;"

#: Sections that are parts of other steps.
_PARTS = ("transaction", "statement outside of a transaction", "run", "note")

#: How long the transactional mode holds its locks for each row of the tenant tables, in seconds: index
#: builds and validations of all tables over their rows, measured on 1 to 5 million rows.
SECONDS_A_ROW = 3e-6
#: Above this many seconds of held locks the application's users notice, and the runner says so.
SECONDS_THAT_HURT = 3.0
#: The events that the run makes, as bits of pg_trigger.tgtype.
_INSERTS_AND_DELETES, _UPDATES = str(4 | 8), str(16)
#: How many questions are put into one statement: PostgreSQL answers in at most 1,664 columns.
_COLUMNS = 1_000
#: An entry of one of the indexes: a uuid, another column, and what PostgreSQL adds to them, in bytes.
INDEX_ENTRY_BYTES = 48


@dataclass(frozen=True)
class Statement:
    """One statement as it is sent, and the step that it belongs to (None: what holds steps together)."""

    sql: str
    step: Optional[str] = None
    #: Whether it is the entry in the log whose number and transaction tell if a COMMIT got through.
    noted: bool = False


@dataclass(frozen=True)
class Step:
    """A section of a script for one table, index or the database, with its statements."""

    label: str
    section: Section
    values: Dict[str, Value]
    statements: Tuple[str, ...]
    details: Dict[str, Any]

    @property
    def concurrent(self) -> bool:
        """Whether its statement cannot be in a transaction."""
        return any(" CONCURRENTLY " in statement for statement in self.statements)

    @property
    def table(self) -> Optional[str]:
        """The tenant table that the step works on, itself or one of its partitions."""
        name = self.values.get("tenant_table") or self.values.get("table")
        return name if isinstance(name, str) else None


@dataclass(frozen=True)
class Mend:
    """How to clear away what an interrupted build leaves: the query that says it is clear, and the statement."""

    done: str
    statement: str


@dataclass(frozen=True)
class Transaction:
    """Statements that are committed together, or that cannot be in a transaction at all."""

    statements: Tuple[Statement, ...]
    steps: Tuple[Step, ...]
    #: Whether what happens in it can be noted in the log (not while the log is being created).
    logged: bool = True
    #: Whether it is a statement with CONCURRENTLY, which PostgreSQL commits piece by piece.
    concurrent: bool = False
    #: What puts the settings of the session back, run even if the statement fails.
    closing: Tuple[Statement, ...] = ()
    mend: Optional[Mend] = None


@dataclass(frozen=True)
class Plan:
    """The steps that are not done, in order, and the transactions that they run in."""

    operation: str
    found: Found
    steps: Tuple[Step, ...]
    done: int
    transactions: Tuple[Transaction, ...]
    remarks: Tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows that are read while locks are held, by the planner's estimate."""
        reading = {step.table for step in self.steps if step.section.name in ("create_index", "fill_client_id")}
        return sum(table.rows for table in self.found.tables if table.name in reading)

    @property
    def seconds(self) -> float:
        """How long the transactional mode will hold its locks."""
        return self.rows * SECONDS_A_ROW

    @property
    def index_bytes(self) -> int:
        """The disk that the new indexes will take, roughly; a build needs as much again for sorting."""
        return sum(
            table.rows * INDEX_ENTRY_BYTES
            for step in self.steps
            if step.section.name in ("create_index", "create_partitioned_index")
            for table in self.found.tables
            if table.name == step.values["table"]  # an index of a partition is counted with the table's
        )

    def script(self) -> str:
        """The plan as a script for psql that has the same result as the run. No name ends the comment that it is in."""
        found = self.found
        lines = [
            f"-- Phase 1, {self.operation} of database {printable(found.database)} as {printable(found.user)},"
            f" PostgreSQL {found.version // 10000}, {found.options.mode}.",
            f"-- {len(self.steps)} steps to do, {self.done} done already.",
            *(f"-- {printable(remark)}" for remark in self.remarks),
        ]
        if self.transactions:
            lines.append("\\set ON_ERROR_STOP on")
        for transaction in self.transactions:
            step: Optional[str] = None
            for statement in transaction.statements:
                if statement.step != step:
                    step = statement.step
                    lines += ["", f"-- {printable(step)}"] if step else [""]
                lines.append(statement.sql)
        return "\n".join(lines) + "\n"


class Scripts:
    """The sections of the migration and the rollback, by name."""

    def __init__(self) -> None:
        self.schema = read(SCHEMA)
        self.rollback = read(ROLLBACK)
        self.by_name = {section.name: section for section in (*self.schema, *self.rollback)}


def label(section_name: str, values: Dict[str, Value]) -> str:
    """What a step is called in the log and on the screen: ``create_index(idx_…)``."""
    target = values.get("index") or values.get("table")
    return f"{section_name}({target})" if target else section_name


def _undone(section: Section, values: Dict[str, Value]) -> str:
    """The label of the step that a step back undoes."""
    return label(section.names("undoes")[0], values)


def _is_ours(found: Found, section: Section, values: Dict[str, Value]) -> bool:
    """Whether what a step back undoes was done by Phase 1, if it is there."""
    # In the log a partition has the name that it had then; its client_id came with that of its table.
    of_partition = "tenant_table" in values and "index" not in values
    step = f"add_client_id({values['tenant_table']})" if of_partition else _undone(section, values)
    return step in found.standing


def are_done(
    connection: psycopg.Connection[Any],
    found: Found,
    scripts: Scripts,
    asked: Sequence[Tuple[Section, Dict[str, Value]]],
) -> List[bool]:
    """Whether each step is done, by its own query; the log decides where the catalog cannot tell.

    The queries go to the server in one statement: when it is far away, each statement more is a wait.
    """
    needed = sorted({name for section, _ in asked for name in section.names("needs")})
    met = {}
    if needed:
        met = dict(zip(needed, are_done(connection, found, scripts, [(scripts.by_name[name], {}) for name in needed])))
    # Where there is nothing to look at, a step back has nothing to undo, and a step is not done.
    done = [bool(section.names("undoes")) for section, _ in asked]
    queries: Dict[int, str] = {}
    for number, (section, values) in enumerate(asked):
        if not all(met[name] for name in section.names("needs")):
            continue
        if section.header("done") == "the log":
            standing = label((section.names("undoes") or (section.name,))[0], values) in found.standing
            done[number] = standing != done[number]
        else:
            queries[number] = section.render_header("done", found.values(**values))
    numbers = list(queries)
    for begin in range(0, len(numbers), _COLUMNS):
        some = numbers[begin : begin + _COLUMNS]
        row = connection.execute("SELECT " + ", ".join(f"({queries[number]})" for number in some)).fetchone()
        for number, answer in zip(some, row or ()):
            # NULL: no row, so the table is not there.
            done[number] = done[number] if answer is None else answer
    return done


def migration(connection: psycopg.Connection[Any], found: Found, scripts: Scripts) -> Plan:
    """The plan of a migration: every step whose ``done`` says no."""
    steps: List[Step] = []
    done = 0
    asked = [
        (section, values)
        for section in scripts.schema
        if section.header("each") not in _PARTS
        for values in found.targets(section.header("each"))
    ]
    for (section, values), is_done in zip(asked, are_done(connection, found, scripts, asked)):
        if is_done:
            # What needed no mending, or was there before, is not counted as ours.
            done += label(section.name, values) in found.standing
            continue
        step = _step(connection, found, section, values)
        if step is not None:
            steps.append(step)
    return Plan("migrate", found, tuple(steps), done, _transactions("migrate", found, scripts, steps))


def rollback(connection: psycopg.Connection[Any], found: Found, scripts: Scripts) -> Plan:
    """The plan of a rollback: every step back whose step the log says was done."""
    steps: List[Step] = []
    remarks: List[str] = []
    asked = [
        (section, values)
        for section in scripts.rollback
        if section.header("each") not in _PARTS
        for values in found.targets(section.header("each"))
        if (
            found.options.purge_log
            if section.header("each") == "log"
            else _is_ours(found, section, values) or _empties(found, section, values)
        )
    ]
    for (section, values), is_done in zip(asked, are_done(connection, found, scripts, asked)):
        emptied = _empties(found, section, values)
        if is_done and not emptied:
            continue
        details = found.standing.get(_undone(section, values)) or {}
        if details.get("also_default") and not emptied:
            remarks.append(
                f"rows of {values['table']} that Phase 1 gave to the default organization stay there: it "
                "had rows before, and nothing tells the two apart"
            )
            continue
        step = _step(connection, found, section, values, section.names("undoes"))
        if step is not None:
            steps.append(step)
    return Plan("rollback", found, tuple(steps), 0, _transactions("rollback", found, scripts, steps), tuple(remarks))


def _step(
    connection: psycopg.Connection[Any],
    found: Found,
    section: Section,
    values: Dict[str, Value],
    undone: Iterable[str] = (),
) -> Optional[Step]:
    """The step of a section for one target, or None if there is nothing for it to do there."""
    table = found.table(str(values.get("table", "")))
    details: Dict[str, Any] = {key: values[key] for key in ("table", "index") if key in values}
    batches: List[Dict[str, Value]] = [{}]
    if section.header("each").startswith("batch") and table is not None:
        condition = {
            "fill_client_id": "client_id IS NULL",
            "empty_client_id": str(found.values()["belongs_to_deleted"]),
        }.get(section.name, "TRUE")
        # What the application writes from now on, by the default, is emptied too.
        if (
            condition != "TRUE"
            and not _empties(found, section, values)
            and not _any(connection, table.qualified, condition)
        ):
            return None
        batches = [{"batch": each} for each in bounds(connection, table, condition)]
    if section.name in ("set_client_id_default", "fill_client_id") and table is not None:
        details["also_default"] = _also_default(connection, found, table)
    if section.name == "create_index":
        details["columns"] = values["columns"]
    # What is undone takes what belongs to it with it.
    labels = [label(name, each) for each in (values, *found.below(values)) for name in undone]
    if labels:
        details["undoes"] = labels
    statements = [statement for batch in batches for statement in section.render(found.values(**{**values, **batch}))]
    return Step(label(section.name, values), section, values, tuple(statements), details)


def _empties(found: Found, section: Section, values: Dict[str, Value]) -> bool:
    """Whether the step back is due without a fill: the application's rows got their client by the default."""
    table = found.table(str(values.get("table", "")))
    return section.name == "empty_client_id" and table is not None and found.empties_client_id(table)


def _also_default(connection: psycopg.Connection[Any], found: Found, table: FoundTable) -> bool:
    """Whether rows belonged to the default organization before Phase 1.

    A run that was stopped has given it some since, by the default or the fill: what it saw before either counts.
    """
    for step in ("set_client_id_default", "fill_client_id"):
        seen = (found.standing.get(f"{step}({table.name})") or {}).get("also_default")
        if seen is not None:
            return bool(seen)
    return _any(connection, table.qualified, f"client_id = '{found.default_organization}'")


def _any(connection: psycopg.Connection[Any], table: str, condition: str) -> bool:
    return bool(value(connection, f"SELECT EXISTS (SELECT FROM {table} WHERE {condition})"))


class _Assembly:
    """Puts steps into transactions: what opens one, what notes that a step was done, what ends it."""

    def __init__(self, found: Found, scripts: Scripts) -> None:
        self._found = found
        self._scripts = scripts

    def part(self, name: str, **values: Value) -> List[Statement]:
        return [Statement(sql) for sql in self._scripts.by_name[name].render(self._found.values(**values))]

    def note(self, operation: str, details: Dict[str, Any]) -> Statement:
        values = self._found.values(operation=operation, details=journal.as_json(details))
        [sql] = self._scripts.by_name["note"].render(values)
        return Statement(sql, operation, noted=True)

    def transaction(
        self,
        steps: Iterable[Step],
        statements: Iterable[Statement],
        opening: Iterable[Statement] = (),
        logged: bool = True,
    ) -> Transaction:
        begin = [Statement(BEGIN), *self.part("settings"), *self.part("one_at_a_time"), *opening]
        return Transaction((*begin, *statements, Statement("COMMIT;")), tuple(steps), logged)

    def guard(self, steps: Iterable[Step]) -> List[Statement]:
        """What fails where these steps would run code of others, or lose something that nobody was asked about."""
        steps = list(steps)
        made = self.trust(steps)
        losses = [loss for step in steps for loss in _losses(self._found, step)]
        if losses and not self._found.options.force:
            made += self.part("keep_to_the_default_organization", lost=" UNION ALL ".join(losses))
        return made

    def trust(self, steps: Sequence[Step]) -> List[Statement]:
        """What fails where these steps would fire triggers of others."""
        return [
            each
            for name in _written(steps)
            for each in self.part(
                "nothing_foreign_fires", table=name, events=_INSERTS_AND_DELETES if name in NEW_TABLES else _UPDATES
            )
        ]

    def mend(self, step: Step) -> Optional[Mend]:
        if step.section.name != "create_index":
            return None
        section, values = self._scripts.by_name["drop_invalid_index"], self._found.values(**step.values)
        [statement] = section.render(values)
        return Mend(section.render_header("done", values), statement)

    def statements(self, step: Step) -> List[Statement]:
        """The statements of a step, with the note that it was done; what drops the log cannot be noted."""
        made = [Statement(sql, step.label) for sql in step.statements]
        return made if drops_the_log(step) else [*made, self.note(step.label, step.details)]

    def transactional(self, operation: str, steps: List[Step]) -> Iterator[Transaction]:
        """All in one, with every lock taken first; the log, which has to survive it, in one of its own."""
        creating = [step for step in steps if step.section.name == "create_migration_log"]
        others = [step for step in steps if step not in creating]
        for step in creating:
            yield self.transaction([step], self.statements(step), logged=False)
        if not others:
            return
        touched = {step.table for step in others}
        locked = [table.qualified for table in self._found.tables if table.name in touched]
        dropped = {step.section.name for step in others}
        locked += [f"public.{name}" for name in ("organizations", "user_organizations") if f"drop_{name}" in dropped]
        opening = self.part("lock_tables", tables=", ".join(locked)) if locked else []
        opening += self.guard(others)
        ending = [step for step in others if drops_the_log(step)]
        statements = [statement for step in others if step not in ending for statement in self.statements(step)]
        statements.append(self.note(operation, summary(self._found)))
        statements += [statement for step in ending for statement in self.statements(step)]
        yield self.transaction(others, statements, opening)

    def online(self, operation: str, steps: List[Step]) -> Iterator[Transaction]:
        """Each step in a short one of its own, each batch too, and CONCURRENTLY in none."""
        ending = [step for step in steps if drops_the_log(step)]
        for step in steps:
            if step in ending:
                continue
            if step.concurrent:
                before, after = self.part("settings_of_the_session"), self.part("settings_put_back")
                building = [Statement(sql, step.label) for sql in step.statements]
                yield Transaction(
                    (*before, *building, *after),
                    (step,),
                    concurrent=True,
                    closing=tuple(after),
                    mend=self.mend(step),
                )
                yield self.transaction([step], [self.note(step.label, step.details)])
            elif step.section.header("each").startswith("batch"):
                *first, last, note = self.statements(step)
                # The log has to know of the first batch of a fill: stopped after it, there are rows to empty.
                # A step that the log alone says is done is noted when it is.
                early = [] if step.section.header("done") == "the log" else [note]
                opening = self.guard([step])
                for statement in first:
                    yield self.transaction([step], [statement, *early], opening)
                    early, opening = [], self.trust([step])
                yield self.transaction([step], [last, note], opening)
            else:
                logged = step.section.name != "create_migration_log"
                yield self.transaction([step], self.statements(step), self.guard([step]), logged)
        yield self.transaction([], [self.note(operation, summary(self._found))])
        for step in ending:
            yield self.transaction([step], self.statements(step))


def _transactions(operation: str, found: Found, scripts: Scripts, steps: List[Step]) -> Tuple[Transaction, ...]:
    # A run that was stopped after its last step has still to say in the log that it is complete.
    if not steps and found.unfinished != operation:
        return ()
    assembly = _Assembly(found, scripts)
    assemble = assembly.online if found.options.online or not steps else assembly.transactional
    return tuple(assemble(operation, steps))


def drops_the_log(step: Step) -> bool:
    """Whether it is the one step that cannot be noted."""
    return step.section.name == "drop_migration_log"


def summary(found: Found) -> Dict[str, Any]:
    """What the log keeps of the run as a whole."""
    return {
        "mode": found.options.mode,
        "default_organization": found.default_organization,
        "time_columns": {table.name: table.time_column for table in found.checked if table.time_column},
        "skipped_tables": sorted(found.options.skipped_tables),
        "skipped_indexes": sorted(found.options.skipped_indexes),
        "grantees": sorted(found.options.grantees),
    }


class Loss(NamedTuple):
    """Rows of a table that lose their client; ``others`` says that it is not the default organization."""

    organization: str
    table: str
    rows: int
    others: bool


def _written(steps: Sequence[Step]) -> List[str]:
    """The tables whose rows these steps write, each once, but for those that they create themselves."""
    created = {step.section.name for step in steps}
    written = (str(step.values.get(name, name)) for step in steps for name in step.section.names("writes"))
    return [name for name in dict.fromkeys(written) if f"create_{name}" not in created]


def _losses(found: Found, step: Step) -> Iterator[str]:
    """The query of the clients that rows lose by a step, if it loses any."""
    if step.section.header("loses"):
        yield step.section.render_header("loses", found.values(**step.values))


def lost(connection: psycopg.Connection[Any], plan: Plan) -> List[Loss]:
    """What a rollback loses; memberships and organizations count as rows of the tables that they are in."""
    return [
        Loss(organization, step.table or step.section.name.replace("drop_", ""), rows, others)
        for step in plan.steps
        for query in _losses(plan.found, step)
        for organization, rows, others in connection.execute(
            "SELECT coalesce(o.slug, lost.client::text), lost.rows, lost.client <> %s"
            f" FROM (SELECT client, count(*) FROM ({query}) AS each (client) GROUP BY 1) AS lost (client, rows)"
            " LEFT JOIN public.organizations AS o ON o.id = lost.client ORDER BY 1",
            [plan.found.default_organization],
        )
    ]


def quoted(names: Iterable[str]) -> str:
    """Names as a list for a sentence."""
    return ", ".join(identifier(name) for name in names)
