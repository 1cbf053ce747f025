"""What other roles of a database can plant so that it runs with the rights of whoever migrates: the table of attacks.

Each is one line of the table in ``docs/whose-objects.md``. What is planted raises an error of its own as soon as it
runs in a session of the runner, so that a run which says nothing of it has not run it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.application.former import LOG, ORGANIZATIONS

#: The error of everything that is planted, and what it says.
LOOT, RAN = "ZZ999", "planted code ran"

_RUN = f"""IF current_setting('application_name') = 'phase_1' THEN
    RAISE EXCEPTION USING ERRCODE = '{LOOT}', MESSAGE = '{RAN} as ' || current_user; END IF;"""

#: The functions that the attacker has ready, in every signature that an attack needs.
FUNCTIONS = f"""
CREATE FUNCTION public.planted() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$BEGIN {_RUN} RETURN TRUE; END$$;
CREATE FUNCTION public.planted(integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$BEGIN {_RUN} RETURN TRUE; END$$;
CREATE FUNCTION public.planted(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$BEGIN {_RUN} RETURN TRUE; END$$;
CREATE FUNCTION public.planted_text(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN {_RUN} RETURN $1; END$$;
CREATE FUNCTION public.planted_trigger() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {_RUN} RETURN NEW; END$$;
"""

_PLANTED_BODY = f"LANGUAGE plpgsql AS $$BEGIN {_RUN} RETURN NULL; END$$"

_COLUMNS = (
    "NULL::uuid AS id, 'x'::text AS name, 'default-org'::text AS slug, '{}'::jsonb AS settings, planted() AS is_active,"
    " now() AS created_at, now() AS updated_at"
)
_LOG_COLUMNS = (
    "1::bigint AS id, 'phase_1'::text AS phase, 'migrate'::text AS operation, 'completed'::text AS status,"
    " CASE WHEN planted() THEN '{}'::jsonb END AS details, now() AS created_at"
)

#: The application's own organizations, which the migration adopts, with the right to hang something on it granted.
_ADOPTED = (
    f"SET ROLE app_owner; {ORGANIZATIONS} REVOKE ALL ON public.organizations FROM anon, authenticated, service_role;"
)

#: A condition of PostgreSQL's own that runs whatever query it is given.
_ANY_QUERY = "ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, ''b''::tsquery WHERE public.planted()') IS NULL"

#: Mails in partitions, some of them in a schema of their own.
_PARTITIONED = (
    "CREATE SCHEMA parts; GRANT USAGE, CREATE ON SCHEMA parts TO PUBLIC; DROP TABLE public.email_logs;"
    " SET ROLE app_owner; CREATE TABLE public.email_logs (id uuid, user_id uuid, created_at timestamptz)"
    " PARTITION BY LIST (id); RESET ROLE; "
)

#: A client_id that was there before, whose NULLs the migration fills: the one time that it writes rows of others.
_FILLED = "ALTER TABLE public.uploads ADD COLUMN client_id uuid;"


@dataclass(frozen=True)
class Attack:
    """One way in.

    ``who`` is ``loner`` (may create in schema public, and nothing else), ``member`` (the owner of the tables is a
    member of it, as of ``authenticated`` on hosted databases), ``anon``, or ``helper`` (owns a function that the
    application itself uses). ``surface`` is the kind of object that PostgreSQL runs or reads on our behalf.
    ``prepared`` is what a superuser has done before, ``planted`` what the attacker does. ``refused_by`` is the check
    that names it, None where it is harmless. ``after``: it can be planted in a migrated database, too.
    """

    name: str
    surface: str
    who: str
    planted: str
    refused_by: str | None
    prepared: str = ""
    after: bool = False
    pg: str = ""

    @property
    def kind(self) -> tuple[str | None, bool]:
        """What decides how it is found: the check, and whether something has to be written for it."""
        return self.refused_by, self.fires

    @property
    def fires(self) -> bool:
        """Whether it runs only where something is written or created, and so at no command that only looks."""
        of_adopted = self.prepared.startswith(_ADOPTED) and self.surface in (
            "default expressions",
            "rules",
            "trigger conditions",
            "triggers",
        )
        return of_adopted or self.surface in ("event triggers", "triggers of filled rows")

    @property
    def id(self) -> str:
        """What the test is called."""
        return self.name.replace(",", "").replace(" ", "-")


_KIND, _OWNER = "names_are_of_ordinary_tables", "names_belong_to_who_owns_the_tables"
_ELSEWHERE, _HANGS = "names_are_not_taken_on_the_way", "nothing_foreign_hangs_on_tables"
_TABLE_OWNER, _EVENT = "tables_belong_to_who_owns_users", "event_triggers_are_trusted"

_NAMES = (
    Attack(
        "organizations is a view",
        "views",
        "loner",
        f"CREATE VIEW public.organizations AS SELECT {_COLUMNS}; GRANT SELECT ON public.organizations TO PUBLIC",
        _KIND,
    ),
    Attack(
        "migration_log is a view",
        "views",
        "loner",
        f"CREATE VIEW public.migration_log AS SELECT {_LOG_COLUMNS}; GRANT SELECT ON public.migration_log TO PUBLIC",
        _KIND,
    ),
    Attack(
        "user_organizations is a view",
        "views",
        "loner",
        "CREATE VIEW public.user_organizations AS SELECT NULL::uuid AS user_id, NULL::uuid AS organization_id,"
        " planted() AS is_active; GRANT SELECT ON public.user_organizations TO PUBLIC",
        _KIND,
    ),
    Attack(
        "organizations is a view of anon",
        "views",
        "anon",
        f"CREATE VIEW public.organizations AS SELECT {_COLUMNS}; GRANT SELECT ON public.organizations TO PUBLIC",
        _KIND,
    ),
    Attack(
        "organizations is a materialized view",
        "materialized views",
        "loner",
        f"CREATE MATERIALIZED VIEW public.organizations AS SELECT {_COLUMNS} WITH NO DATA",
        _KIND,
    ),
    Attack(
        "organizations is a foreign table",
        "foreign tables",
        "loner",
        "CREATE FOREIGN TABLE public.organizations (id uuid, name text, slug text, is_active boolean) SERVER away",
        _KIND,
        prepared="CREATE FOREIGN DATA WRAPPER away; CREATE SERVER away FOREIGN DATA WRAPPER away;"
        " GRANT USAGE ON FOREIGN SERVER away TO PUBLIC",
    ),
    Attack(
        "organizations is a sequence",
        "sequences",
        "loner",
        "CREATE SEQUENCE public.organizations",
        _KIND,
    ),
    Attack(
        "organizations is a composite type",
        "types",
        "loner",
        "CREATE TYPE public.organizations AS (id uuid)",
        _KIND,
    ),
    Attack(
        "organizations is partitioned",
        "partitions",
        "member",
        "CREATE TABLE public.organizations (id uuid, name text, slug text, is_active boolean) PARTITION BY LIST (slug);"
        "CREATE TABLE public.part PARTITION OF public.organizations DEFAULT;"
        "CREATE TRIGGER planted BEFORE INSERT ON public.part FOR EACH ROW EXECUTE FUNCTION public.planted_trigger()",
        _KIND,
    ),
    Attack(
        "organizations has an heir",
        "inheritance",
        "member",
        f"{ORGANIZATIONS} CREATE TABLE public.heir () INHERITS (public.organizations);"
        " CREATE INDEX ON public.heir (slug) WHERE public.planted(1)",
        _KIND,
    ),
    Attack(
        "organizations has a trigger",
        "triggers",
        "member",
        f"{ORGANIZATIONS} CREATE TRIGGER planted BEFORE INSERT ON public.organizations"
        " FOR EACH ROW EXECUTE FUNCTION public.planted_trigger()",
        _OWNER,
    ),
    Attack(
        "organizations has a trigger of a statement",
        "triggers",
        "loner",
        f"{ORGANIZATIONS} CREATE TRIGGER planted AFTER INSERT ON public.organizations"
        " FOR EACH STATEMENT EXECUTE FUNCTION public.planted_trigger()",
        _OWNER,
    ),
    Attack(
        "organizations has a deferred trigger",
        "triggers",
        "member",
        f"{ORGANIZATIONS} CREATE CONSTRAINT TRIGGER planted AFTER INSERT ON public.organizations"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.planted_trigger()",
        _OWNER,
    ),
    Attack(
        "organizations has a rule",
        "rules",
        "member",
        f"{ORGANIZATIONS} CREATE RULE planted AS ON INSERT TO public.organizations DO ALSO SELECT public.planted()",
        _OWNER,
    ),
    Attack(
        "organizations has a default",
        "default expressions",
        "member",
        f"{ORGANIZATIONS} ALTER TABLE public.organizations ALTER is_active SET DEFAULT public.planted()",
        _OWNER,
    ),
    Attack(
        "organizations has a check",
        "check expressions",
        "member",
        f"{ORGANIZATIONS} ALTER TABLE public.organizations ADD CHECK (public.planted(slug))",
        _OWNER,
    ),
    Attack(
        "organizations has a generated column",
        "generated columns",
        "member",
        f"{ORGANIZATIONS} ALTER TABLE public.organizations"
        " ADD more boolean GENERATED ALWAYS AS (public.planted(slug)) STORED",
        _OWNER,
    ),
    Attack(
        "organizations has an index on an expression",
        "index expressions",
        "member",
        f"{ORGANIZATIONS} CREATE INDEX ON public.organizations (public.planted_text(slug))",
        _OWNER,
    ),
    Attack(
        "organizations has an index of some rows",
        "index predicates",
        "member",
        f"{ORGANIZATIONS} CREATE INDEX ON public.organizations (slug) WHERE public.planted(1)",
        _OWNER,
    ),
    Attack(
        "organizations has an exclusion constraint",
        "exclusion constraints",
        "member",
        f"{ORGANIZATIONS} ALTER TABLE public.organizations"
        " ADD EXCLUDE USING hash (slug WITH =) WHERE (public.planted(slug))",
        _OWNER,
    ),
    Attack(
        "organizations has statistics on an expression",
        "extended statistics",
        "member",
        f"{ORGANIZATIONS} CREATE STATISTICS planted ON (public.planted_text(slug)), id FROM public.organizations",
        _OWNER,
        pg=">=14",
    ),
    Attack(
        "organizations has a column of a domain",
        "domains",
        "member",
        "CREATE DOMAIN public.word AS text CHECK (public.planted(VALUE));"
        + ORGANIZATIONS.replace("slug text", "slug public.word"),
        _OWNER,
    ),
    Attack(
        "organizations has policies",
        "policies",
        "member",
        f"{ORGANIZATIONS} CREATE POLICY planted ON public.organizations USING (public.planted());"
        " ALTER TABLE public.organizations FORCE ROW LEVEL SECURITY",
        _OWNER,
    ),
    Attack(
        "migration_log has a trigger",
        "triggers",
        "member",
        f"{LOG} CREATE TRIGGER planted BEFORE INSERT ON public.migration_log"
        " FOR EACH ROW EXECUTE FUNCTION public.planted_trigger()",
        _OWNER,
    ),
    Attack(
        "migration_log says what was never done",
        "tables",
        "loner",
        f"{LOG} INSERT INTO public.migration_log (phase, operation, status)"
        " VALUES ('phase_1', 'create_organizations', 'completed'); GRANT ALL ON public.migration_log TO PUBLIC",
        _OWNER,
    ),
    Attack(
        "user_organizations is a table of somebody",
        "tables",
        "loner",
        "CREATE TABLE public.user_organizations (id uuid); GRANT ALL ON public.user_organizations TO PUBLIC",
        _OWNER,
    ),
)

_ADOPTION = tuple(
    Attack(
        f"adopted organizations has {what}",
        surface,
        who,
        planted,
        refused_by,
        prepared=_ADOPTED + prepared,
        pg=pg,
    )
    for what, surface, who, prepared, planted, refused_by, pg in (
        (
            "a trigger of who was granted TRIGGER",
            "triggers",
            "member",
            "GRANT TRIGGER ON public.organizations TO {role}",
            "CREATE TRIGGER planted BEFORE INSERT ON public.organizations"
            " FOR EACH ROW EXECUTE FUNCTION public.planted_trigger()",
            _HANGS,
            "",
        ),
        (
            "a trigger whose condition is a function",
            "trigger conditions",
            "loner",
            "GRANT TRIGGER ON public.organizations TO {role}",
            "CREATE TRIGGER planted BEFORE INSERT ON public.organizations FOR EACH ROW"
            " WHEN (public.planted()) EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            _HANGS,
            "",
        ),
        (
            "a check with a function of a helper",
            "check expressions",
            "helper",
            "RESET ROLE; ALTER TABLE public.organizations ADD CHECK (public.planted(slug))",
            "",
            _HANGS,
            "",
        ),
        (
            "a default with a function of a helper",
            "default expressions",
            "helper",
            "RESET ROLE; ALTER TABLE public.organizations ALTER is_active SET DEFAULT public.planted()",
            "",
            _HANGS,
            "",
        ),
        (
            "an index with a function of a helper",
            "index predicates",
            "helper",
            "RESET ROLE; CREATE INDEX ON public.organizations (slug) WHERE public.planted(1)",
            "",
            _HANGS,
            "",
        ),
        (
            "a rule with a function of a helper",
            "rules",
            "helper",
            "RESET ROLE; CREATE RULE planted AS ON INSERT TO public.organizations DO ALSO SELECT public.planted()",
            "",
            _HANGS,
            "",
        ),
        (
            "a trigger whose condition runs any query",
            "trigger conditions",
            "member",
            "GRANT TRIGGER ON public.organizations TO {role}",
            f"CREATE TRIGGER planted BEFORE INSERT ON public.organizations FOR EACH ROW WHEN ({_ANY_QUERY})"
            " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            _HANGS,
            "",
        ),
        (
            "a rule that writes to a table of a helper",
            "rules",
            "helper",
            "RESET ROLE; CREATE RULE planted AS ON INSERT TO public.organizations DO ALSO"
            " INSERT INTO public.of_the_helper VALUES (NEW.id)",
            "",
            _HANGS,
            "",
        ),
    )
)

_ROUTINES = (
    *(
        Attack(name, surface, who, planted, check, prepared=prepared, after=True)
        for name, surface, who, planted, check, prepared in (
            (
                "a function for texts",
                "functions",
                "loner",
                f"CREATE FUNCTION public.validate_client_access(text, text) RETURNS boolean {_PLANTED_BODY}",
                _OWNER,
                "",
            ),
            (
                "a function for any number of texts",
                "functions",
                "loner",
                f"CREATE FUNCTION public.validate_client_access(VARIADIC text[]) RETURNS boolean {_PLANTED_BODY}",
                _OWNER,
                "",
            ),
            (
                "a function for a name",
                "functions",
                "member",
                f"CREATE FUNCTION public.get_user_organization_id(text) RETURNS uuid {_PLANTED_BODY}",
                _OWNER,
                "",
            ),
            (
                "an integrity function with a default argument",
                "functions",
                "loner",
                "CREATE FUNCTION public.validate_client_data_integrity(quick boolean DEFAULT FALSE) RETURNS jsonb"
                f" {_PLANTED_BODY}",
                _OWNER,
                "",
            ),
            (
                "a procedure of that name",
                "procedures",
                "anon",
                f"CREATE PROCEDURE public.validate_client_access(text) LANGUAGE plpgsql AS $$BEGIN {_RUN} END$$",
                _OWNER,
                "",
            ),
            (
                "an aggregate of that name",
                "aggregates",
                "loner",
                "CREATE AGGREGATE public.get_user_organization_id(boolean)"
                " (SFUNC = booland_statefunc, STYPE = boolean)",
                _OWNER,
                "",
            ),
            (
                "a function in the schema that is called like a role",
                "search_path",
                "loner",
                "CREATE SCHEMA app_owner; CREATE FUNCTION app_owner.validate_client_access(uuid, uuid) RETURNS"
                f" boolean {_PLANTED_BODY}",
                _ELSEWHERE,
                'GRANT CREATE ON DATABASE "{database}" TO {role}',
            ),
            (
                "a function in a schema of the path of the database",
                "search_path",
                "loner",
                f"CREATE FUNCTION tools.get_user_organization_id(uuid) RETURNS uuid {_PLANTED_BODY}",
                _ELSEWHERE,
                "CREATE SCHEMA tools; GRANT USAGE, CREATE ON SCHEMA tools TO PUBLIC;"
                ' ALTER DATABASE "{database}" SET search_path = tools, public',
            ),
            (
                "a table in a schema of the path of the database",
                "search_path",
                "loner",
                "CREATE TABLE tools.organizations (id uuid)",
                _ELSEWHERE,
                "CREATE SCHEMA tools; GRANT USAGE, CREATE ON SCHEMA tools TO PUBLIC;"
                " ALTER DATABASE \"{database}\" SET search_path = '$user', tools, public",
            ),
        )
    ),
    Attack(
        "the integrity function itself",
        "functions",
        "loner",
        f"CREATE FUNCTION public.validate_client_data_integrity() RETURNS jsonb {_PLANTED_BODY}",
        _OWNER,
    ),
)

_TENANTS = tuple(
    Attack(name, surface, who, planted, check, prepared=prepared, after=after, pg=pg)
    for name, surface, who, prepared, planted, check, after, pg in (
        (
            "a check of uploads with a function of a helper",
            "check expressions",
            "helper",
            "ALTER TABLE public.uploads ADD CHECK (public.planted(1))",
            "",
            _HANGS,
            True,
            "",
        ),
        (
            "an index of uploads for the rows of a function",
            "index predicates",
            "helper",
            "CREATE INDEX ON public.uploads (filename) WHERE public.planted(1)",
            "",
            _HANGS,
            True,
            "",
        ),
        (
            "an index of uploads on a function of a helper",
            "index expressions",
            "helper",
            "CREATE INDEX ON public.uploads (public.planted_text(filename))",
            "",
            _HANGS,
            True,
            "",
        ),
        (
            "a generated column of uploads",
            "generated columns",
            "helper",
            "ALTER TABLE public.uploads ADD more boolean GENERATED ALWAYS AS (public.planted(filename)) STORED",
            "",
            _HANGS,
            True,
            "",
        ),
        (
            "statistics of uploads on a function of a helper",
            "extended statistics",
            "helper",
            "CREATE STATISTICS planted ON (public.planted_text(filename)), id FROM public.uploads",
            "",
            _HANGS,
            True,
            ">=14",
        ),
        (
            "a column of uploads of a domain of a helper",
            "domains",
            "helper",
            "ALTER TABLE public.uploads ADD more public.helpers_word",
            "ALTER DOMAIN public.helpers_word ADD CHECK (public.planted(VALUE))",
            _HANGS,
            True,
            "",
        ),
        (
            "a column of uploads of a type of a helper with a cast",
            "casts",
            "helper",
            "ALTER TABLE public.uploads ADD more public.helpers_mood",
            "CREATE CAST (public.helpers_mood AS text) WITH FUNCTION public.planted_mood(public.helpers_mood)",
            _HANGS,
            True,
            "",
        ),
        (
            "an operator of a helper in a check of uploads",
            "operators",
            "helper",
            "ALTER TABLE public.uploads ADD CHECK (filename OPERATOR(public.###) filename)",
            "",
            _HANGS,
            True,
            "",
        ),
        (
            "a trigger of uploads, and rows that are filled",
            "triggers of filled rows",
            "helper",
            _FILLED + "CREATE TRIGGER planted BEFORE UPDATE ON public.uploads"
            " FOR EACH ROW EXECUTE FUNCTION public.planted_trigger()",
            "",
            _HANGS,
            False,
            "",
        ),
        (
            "a trigger of uploads by who was granted TRIGGER",
            "triggers of filled rows",
            "member",
            _FILLED + "GRANT TRIGGER ON public.uploads TO {role}",
            "CREATE TRIGGER planted BEFORE UPDATE ON public.uploads"
            " FOR EACH ROW EXECUTE FUNCTION public.planted_trigger()",
            _HANGS,
            False,
            "",
        ),
        (
            "a trigger of uploads whose condition is a function",
            "triggers of filled rows",
            "anon",
            _FILLED + "GRANT TRIGGER ON public.uploads TO {role}",
            "CREATE TRIGGER planted BEFORE UPDATE ON public.uploads FOR EACH ROW WHEN (public.planted())"
            " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            _HANGS,
            False,
            "",
        ),
        (
            "a rule of uploads, and rows that are filled",
            "triggers of filled rows",
            "helper",
            _FILLED + "CREATE RULE planted AS ON UPDATE TO public.uploads DO ALSO SELECT public.planted()",
            "",
            _HANGS,
            False,
            "",
        ),
        (
            "email_logs belongs to a role of which the owner is a member",
            "tables",
            "member",
            "ALTER TABLE public.email_logs OWNER TO {role}",
            "CREATE INDEX ON public.email_logs (recipient) WHERE public.planted(1)",
            _TABLE_OWNER,
            True,
            "",
        ),
        (
            "a trigger of uploads whose condition runs any query",
            "triggers of filled rows",
            "anon",
            _FILLED + "GRANT TRIGGER ON public.uploads TO {role}",
            f"CREATE TRIGGER planted BEFORE UPDATE ON public.uploads FOR EACH ROW WHEN ({_ANY_QUERY})"
            " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            _HANGS,
            False,
            "",
        ),
        (
            "a trigger of uploads whose condition reads a value of a domain",
            "triggers of filled rows",
            "anon",
            _FILLED + "GRANT TRIGGER ON public.uploads TO {role}",
            "CREATE DOMAIN public.evil AS text CHECK (public.planted(VALUE));"
            " CREATE TRIGGER planted BEFORE UPDATE ON public.uploads FOR EACH ROW"
            " WHEN (array_in('{x}', 'public.evil'::regtype, -1) IS NOT NULL)"
            " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            _HANGS,
            False,
            "",
        ),
        (
            "a trigger of uploads whose condition calls a function of the owner",
            "triggers of filled rows",
            "anon",
            _FILLED + "GRANT TRIGGER ON public.uploads TO {role}; SET ROLE app_owner;"
            " CREATE FUNCTION public.at_your_service(text) RETURNS text LANGUAGE plpgsql STABLE"
            " AS $$BEGIN EXECUTE $1; RETURN $1; END$$",
            "CREATE TRIGGER planted BEFORE UPDATE ON public.uploads FOR EACH ROW"
            " WHEN (public.at_your_service('SELECT public.planted()') IS NULL)"
            " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "triggers_of_others_take_no_arguments",
            False,
            "",
        ),
        (
            "a trigger of uploads that gives arguments to a function of the owner",
            "triggers of filled rows",
            "loner",
            _FILLED
            + "GRANT TRIGGER ON public.uploads TO {role}; SET ROLE app_owner; CREATE FUNCTION public.at_your_service()"
            " RETURNS trigger LANGUAGE plpgsql AS $$BEGIN EXECUTE TG_ARGV[0]; RETURN NEW; END$$",
            "CREATE TRIGGER planted BEFORE UPDATE ON public.uploads FOR EACH ROW"
            " EXECUTE FUNCTION public.at_your_service('SELECT public.planted()')",
            "triggers_of_others_take_no_arguments",
            False,
            "",
        ),
        (
            "a rule of uploads that writes to a table with a trigger of a helper",
            "triggers of filled rows",
            "helper",
            _FILLED
            + "SET ROLE app_owner; CREATE TABLE public.audit (id uuid); GRANT TRIGGER ON public.audit TO {role};"
            " CREATE RULE audited AS ON UPDATE TO public.uploads DO ALSO INSERT INTO public.audit VALUES (NEW.id)",
            "CREATE TRIGGER planted BEFORE INSERT ON public.audit"
            " FOR EACH ROW EXECUTE FUNCTION public.planted_trigger()",
            _HANGS,
            False,
            "",
        ),
        (
            "a foreign key that follows a new client_id of uploads",
            "triggers of filled rows",
            "loner",
            _FILLED
            + "ALTER TABLE public.uploads ADD UNIQUE (id, client_id); GRANT REFERENCES ON public.uploads TO {role}",
            "CREATE TABLE public.mine (id uuid, client_id uuid,"
            " FOREIGN KEY (id, client_id) REFERENCES public.uploads (id, client_id) ON UPDATE CASCADE);"
            " CREATE TRIGGER planted BEFORE UPDATE ON public.mine"
            " FOR EACH ROW EXECUTE FUNCTION public.planted_trigger()",
            _HANGS,
            False,
            "",
        ),
        (
            "a partition of email_logs in another schema belongs to a helper",
            "partitions",
            "helper",
            _PARTITIONED + "CREATE TABLE parts.mails PARTITION OF public.email_logs DEFAULT;"
            " ALTER TABLE parts.mails OWNER TO {role}",
            "CREATE INDEX ON parts.mails (id) WHERE public.planted(1)",
            _TABLE_OWNER,
            False,
            "",
        ),
        (
            "a partition of a partition of email_logs belongs to a helper",
            "partitions",
            "helper",
            _PARTITIONED + "CREATE TABLE public.mails PARTITION OF public.email_logs DEFAULT PARTITION BY LIST (id);"
            " CREATE TABLE public.more_mails PARTITION OF public.mails DEFAULT;"
            " ALTER TABLE public.more_mails OWNER TO {role}",
            "CREATE INDEX ON public.more_mails (id) WHERE public.planted(1)",
            _TABLE_OWNER,
            False,
            "",
        ),
        (
            "an heir of email_logs in another schema belongs to a helper",
            "inheritance",
            "helper",
            "CREATE SCHEMA parts; GRANT USAGE, CREATE ON SCHEMA parts TO PUBLIC;"
            "CREATE TABLE parts.heir () INHERITS (public.email_logs); ALTER TABLE parts.heir OWNER TO {role}",
            "CREATE INDEX ON parts.heir (id) WHERE public.planted(1)",
            _TABLE_OWNER,
            False,
            "",
        ),
        (
            "a column of uploads of a composite type with a domain of a helper",
            "domains",
            "helper",
            "SET ROLE app_owner; CREATE TYPE public.pair AS (word public.helpers_word);"
            " ALTER TABLE public.uploads ADD more public.pair",
            "ALTER DOMAIN public.helpers_word ADD CHECK (public.planted(VALUE)) NOT VALID",
            _HANGS,
            False,
            "",
        ),
        (
            "users belongs to a role of which the owner is a member",
            "tables",
            "member",
            "ALTER TABLE public.users OWNER TO {role}",
            "CREATE INDEX ON public.users (email) WHERE public.planted(1)",
            "users_belongs_to_who_owns_the_rest",
            True,
            "",
        ),
        (
            "an event trigger with a function of a helper",
            "event triggers",
            "helper",
            "CREATE EVENT TRIGGER planted ON ddl_command_end EXECUTE FUNCTION public.planted_event()",
            "",
            _EVENT,
            False,
            "",
        ),
        (
            "an event trigger for what is dropped",
            "event triggers",
            "helper",
            "CREATE EVENT TRIGGER planted ON sql_drop EXECUTE FUNCTION public.planted_event()",
            "",
            _EVENT,
            False,
            "",
        ),
    )
)

_BY_A_FUNCTION = (
    "SET ROLE app_owner; ALTER TABLE public.email_logs RENAME TO former_logs;"
    " CREATE TABLE public.email_logs (LIKE public.former_logs INCLUDING DEFAULTS)"
    " PARTITION BY LIST ((recipient || public.planted_text('x')));"
    " CREATE TABLE public.rest PARTITION OF public.email_logs DEFAULT;"
    " INSERT INTO public.email_logs SELECT * FROM public.former_logs; DROP TABLE public.former_logs"
)

_PARTITION_KEYS = (
    Attack(
        "a partition key of email_logs with a function of a helper",
        "partition keys",
        "helper",
        "SELECT 1",
        _HANGS,
        prepared=_BY_A_FUNCTION,
        pg=">=13",
    ),
    Attack(
        "a partition key of email_logs that opening runs",
        "partition keys",
        "helper",
        "SELECT 1",
        "partition_keys_use_nothing_foreign",
        prepared=_BY_A_FUNCTION,
        pg="<13",
    ),
    *(
        Attack(
            f"a partition key of a table of somebody{where}",
            "partition keys",
            "loner",
            "CREATE TABLE public.keyed (id text) PARTITION BY LIST ((id || public.planted_text('x')));"
            " CREATE INDEX ON public.keyed (id)",
            refused_by,
            after=True,
            pg=pg,
        )
        for where, refused_by, pg in (
            ("", None, ">=13"),
            (" that opening runs", "partition_keys_use_nothing_foreign", "<13"),
        )
    ),
)

#: What is not ours to refuse, since nothing of it runs.
_HARMLESS = tuple(
    Attack(name, surface, who, planted, None, prepared=prepared, after=True, pg=pg)
    for name, surface, who, prepared, planted, pg in (
        (
            "an operator for uuids",
            "operators",
            "loner",
            "",
            "CREATE FUNCTION public.planted_equal(uuid, uuid) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS"
            f" $$BEGIN {_RUN} RETURN TRUE; END$$;"
            " CREATE OPERATOR public.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = public.planted_equal)",
            "",
        ),
        (
            "functions with the names of PostgreSQL's own",
            "functions",
            "anon",
            "",
            f"CREATE FUNCTION public.format(text, text) RETURNS text {_PLANTED_BODY};"
            f"CREATE FUNCTION public.now() RETURNS timestamptz {_PLANTED_BODY};"
            f"CREATE FUNCTION public.quote_ident(text) RETURNS text {_PLANTED_BODY};"
            f"CREATE FUNCTION public.to_regclass(text) RETURNS regclass {_PLANTED_BODY};"
            f"CREATE FUNCTION public.count(uuid) RETURNS bigint {_PLANTED_BODY}",
            "",
        ),
        (
            "tables with the names of PostgreSQL's own",
            "search_path",
            "loner",
            'ALTER DATABASE "{database}" SET search_path = public, pg_catalog',
            f"CREATE VIEW public.pg_class AS SELECT planted() AS oid;"
            f"CREATE FUNCTION public.format(text, text, text) RETURNS text {_PLANTED_BODY};"
            "CREATE VIEW public.pg_roles AS SELECT planted() AS oid",
            "",
        ),
        (
            "types with the names of PostgreSQL's own",
            "types",
            "loner",
            'ALTER DATABASE "{database}" SET search_path = public, pg_catalog',
            "CREATE DOMAIN public.uuid AS text CHECK (public.planted(VALUE));"
            " CREATE DOMAIN public.jsonb AS text CHECK (public.planted(VALUE))",
            "",
        ),
        (
            "a policy of uploads",
            "policies",
            "helper",
            "ALTER TABLE public.uploads ENABLE ROW LEVEL SECURITY;"
            " CREATE POLICY planted ON public.uploads USING (public.planted())",
            "",
            "",
        ),
        (
            "a default of uploads",
            "default expressions",
            "helper",
            "ALTER TABLE public.uploads ADD more boolean;"
            " ALTER TABLE public.uploads ALTER more SET DEFAULT public.planted()",
            "",
            "",
        ),
        (
            "a trigger of uploads, where no row is written",
            "triggers",
            "helper",
            "CREATE TRIGGER planted BEFORE INSERT OR UPDATE OR DELETE ON public.uploads"
            " FOR EACH ROW EXECUTE FUNCTION public.planted_trigger()",
            "",
            "",
        ),
        (
            "a trigger of users, which the memberships refer to",
            "triggers",
            "member",
            "GRANT TRIGGER ON public.users TO {role}",
            "CREATE TRIGGER planted AFTER UPDATE OR DELETE ON public.users"
            " FOR EACH ROW EXECUTE FUNCTION public.planted_trigger()",
            "",
        ),
        (
            "policies of adopted organizations",
            "policies",
            "helper",
            _ADOPTED + "RESET ROLE; CREATE POLICY planted ON public.organizations USING (public.planted())",
            "",
            "",
        ),
        (
            "a webhook of organizations after an update",
            "triggers",
            "helper",
            _ADOPTED + "RESET ROLE; CREATE TRIGGER planted AFTER UPDATE ON public.organizations"
            " FOR EACH ROW EXECUTE FUNCTION public.planted_trigger()",
            "",
            "",
        ),
        (
            "the search_path of a role that may do nothing here",
            "search_path",
            "helper",
            "CREATE SCHEMA crm; GRANT USAGE, CREATE ON SCHEMA crm TO {role};"
            ' ALTER ROLE authenticator IN DATABASE "{database}" SET search_path = crm, public',
            "CREATE TABLE crm.organizations (id uuid)",
            "",
        ),
        (
            "an update trigger of uploads for other columns than client_id",
            "triggers",
            "helper",
            _FILLED + "CREATE TRIGGER planted BEFORE UPDATE OF filename ON public.uploads"
            " FOR EACH ROW EXECUTE FUNCTION public.planted_trigger()",
            "",
            "",
        ),
        (
            "organizations of a role in the schema of that role",
            "search_path",
            "helper",
            "CREATE SCHEMA {role} AUTHORIZATION {role}",
            "CREATE TABLE {role}.organizations (id uuid)",
            "",
        ),
        (
            "a view and a materialized view over uploads",
            "views",
            "helper",
            "GRANT SELECT ON public.uploads TO {role}",
            "CREATE VIEW public.seen AS SELECT id, public.planted() FROM public.uploads;"
            " CREATE MATERIALIZED VIEW public.kept AS SELECT id, public.planted() FROM public.uploads",
            "",
        ),
        (
            "a table that refers to uploads",
            "foreign keys",
            "member",
            "GRANT REFERENCES ON public.uploads TO {role}",
            "CREATE TABLE public.mine (id uuid REFERENCES public.uploads ON UPDATE CASCADE ON DELETE CASCADE);"
            " CREATE CONSTRAINT TRIGGER planted AFTER UPDATE OR DELETE ON public.mine DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION public.planted_trigger()",
            "",
        ),
        (
            "a conversion of encodings",
            "conversions",
            "loner",
            "",
            "CREATE DEFAULT CONVERSION public.mine FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
            "",
        ),
        (
            "a collation that a column of uploads has",
            "collations",
            "helper",
            "ALTER TABLE public.uploads ADD more text COLLATE public.helpers_order",
            "",
            "",
        ),
        (
            "a text search configuration",
            "text search",
            "loner",
            "",
            "CREATE TEXT SEARCH CONFIGURATION public.simple (COPY = pg_catalog.simple)",
            "",
        ),
        (
            "a function of that name where nobody looks",
            "search_path",
            "helper",
            "CREATE SCHEMA apart; GRANT USAGE, CREATE ON SCHEMA apart TO {role}",
            f"CREATE FUNCTION apart.validate_client_access(uuid, uuid) RETURNS boolean {_PLANTED_BODY}",
            "",
        ),
        (
            "settings of the role and the database",
            "settings",
            "loner",
            'ALTER DATABASE "{database}" SET search_path = public;'
            ' ALTER ROLE app_owner IN DATABASE "{database}" SET search_path = public, pg_catalog;'
            ' ALTER DATABASE "{database}" SET row_security = off;'
            ' ALTER DATABASE "{database}" SET default_text_search_config = simple',
            f"CREATE FUNCTION public.txid_current() RETURNS bigint {_PLANTED_BODY};"
            f"CREATE FUNCTION public.pg_backend_pid() RETURNS integer {_PLANTED_BODY}",
            "",
        ),
    )
)

ATTACKS: tuple[Attack, ...] = tuple(
    replace(each, planted=each.planted.replace(" planted()", " public.planted()"))
    for each in (*_NAMES, *_ADOPTION, *_ROUTINES, *_TENANTS, *_PARTITION_KEYS, *_HARMLESS)
)
