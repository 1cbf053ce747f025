"""What a database is made of, as its catalog says it: two of them can be compared, object by object.

A dump is a text in an order of its own, which leaves out the validity of an index. A fingerprint has for
each object its properties, says what differs, and takes a few milliseconds.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

import psycopg

from phase_1.scripts import literal

#: For each object, such as ``table public.users: column id``, what it is like.
Fingerprint = Dict[str, Dict[str, Any]]

# The settings that decide how the catalog's expressions are written out; and no compiler for short queries.
_SETTINGS = (
    ("search_path", ""),
    ("quote_all_identifiers", "off"),
    ("datestyle", "ISO, YMD"),
    ("intervalstyle", "postgres"),
    ("timezone", "UTC"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    ("jit", "off"),
)


def fingerprint(
    connection: psycopg.Connection[Any],
    schemas: Optional[Sequence[str]] = None,
    exclude: Sequence[str] = (),
) -> Fingerprint:
    """The objects of the schemas, or of all schemas that are not PostgreSQL's own, with their properties.

    Two databases of one server that were made alike have equal fingerprints: no oid is in them, a column
    counts among those that are there, and a grant that repeats the default is none. Left out are rows,
    values of sequences, what belongs to an extension, the tables in ``exclude`` (``public.migration_log``)
    with all that hangs on them, and what an application rarely has: operators, casts, collations, text
    search, foreign servers and subscriptions.

    The connection is left as it was, in a transaction or not.
    """
    with connection.transaction(force_rollback=True):
        settings = ", ".join(f"set_config({literal(name)}, {literal(value)}, true)" for name, value in _SETTINGS)
        connection.execute(f"SELECT {settings}".encode())
        left_out = _with_what_hangs_on_it(connection, exclude)
        found: Fingerprint = {}
        for query in _queries(connection.info.server_version, schemas, left_out):
            found.update((name, properties) for name, properties in connection.execute(query.encode()))
        return found


def canonical(found: Fingerprint) -> str:
    """The fingerprint as a text that is the same for equal ones."""
    return json.dumps(found, sort_keys=True)


def sha256(found: Fingerprint) -> str:
    """The fingerprint in 64 characters."""
    return hashlib.sha256(canonical(found).encode()).hexdigest()


def difference(first: Fingerprint, second: Fingerprint, names: Tuple[str, str] = ("first", "second")) -> List[str]:
    """A line for each object and property that differs; what is in an object that is not there goes unsaid.

    ``names`` are what the lines call the two.
    """
    lines: List[str] = []
    for name in sorted({*first, *second}):
        if name not in first or name not in second:
            here, where = (first, names[0]) if name in first else (second, names[1])
            there = second if here is first else first
            parent = name.partition(": ")[0]
            if parent == name or parent in there or parent not in here:
                lines.append(f"{name}: is there in the {where} only")
        else:
            lines += _differing(name, first[name], second[name], names)
    return lines


def _differing(name: str, one: Dict[str, Any], other: Dict[str, Any], names: Tuple[str, str]) -> Iterator[str]:
    here, there = names
    for key in sorted({*one, *other}):
        if one.get(key) != other.get(key):
            yield f"{name}: {key} is {_shown(one.get(key))} in the {here}, {_shown(other.get(key))} in the {there}"


def _shown(value: Any) -> str:
    return "not set" if value is None else json.dumps(value, ensure_ascii=False)


def _with_what_hangs_on_it(connection: psycopg.Connection[Any], tables: Iterable[str]) -> List[int]:
    """The oids of tables that are there, of their indexes, and of the sequences that belong to them."""
    names = ", ".join(f"to_regclass({literal(table)})" for table in tables)
    if not names:
        return []
    query = (
        f"WITH excluded AS (SELECT unnest(ARRAY[{names}]::oid[]) AS oid) SELECT oid FROM excluded WHERE oid IS NOT NULL"
        " UNION SELECT indexrelid FROM pg_catalog.pg_index WHERE indrelid IN (SELECT oid FROM excluded)"
        " UNION SELECT d.objid FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_class AS c ON c.oid = d.objid"
        " WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = d.classid AND c.relkind = 'S'"
        " AND d.refobjid IN (SELECT oid FROM excluded)"
    )
    return [oid for (oid,) in connection.execute(query.encode())]


def _queries(version: int, schemas: Optional[Sequence[str]], left_out: Sequence[int]) -> Iterator[str]:
    """The queries for this version, each of which returns objects with their properties."""
    in_schemas = (
        r"n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
        if schemas is None
        else f"n.nspname = ANY (ARRAY[{', '.join(map(literal, schemas))}]::name[])"
    )
    kept = f" AND c.oid <> ALL (ARRAY[{', '.join(map(str, left_out))}]::oid[])" if left_out else ""
    queries = _IN_SCHEMAS
    if schemas is None:
        queries += _IN_THE_DATABASE
        if version >= 150000:
            queries += (_PUBLISHED_SCHEMAS,)
    for query in queries:
        made = query
        for word, text in {
            "[in schemas]": in_schemas,
            "[kept]": kept,
            "[sql body]": "pg_get_function_sqlbody(p.oid)" if version >= 140000 else "NULL",
            "[published columns]": "r.prattrs::int2[]" if version >= 150000 else "NULL::int2[]",
            "[published rows]": "pg_get_expr(r.prqual, r.prrelid)" if version >= 150000 else "NULL",
            "[compression]": "nullif(a.attcompression, '')" if version >= 140000 else "NULL",
            "[not null]": _NOT_NULL if version >= 180000 else "CASE WHEN a.attnotnull THEN 'NOT NULL' END",
        }.items():
            made = made.replace(word, text)
        yield made


def _acl(acl: str, kind: str, owner: str) -> str:
    """SQL for a list of grants, the same for NULL and for the default written out."""
    return (
        '(SELECT jsonb_agg(granted ORDER BY granted COLLATE "C") FROM ('
        "SELECT format('%s: %s by %s',"
        " CASE WHEN e.grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(e.grantee)::text END,"
        " string_agg(e.privilege_type || CASE WHEN e.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END, ', '"
        " ORDER BY e.privilege_type),"
        " pg_get_userbyid(e.grantor)) AS granted"
        f" FROM aclexplode(coalesce({acl}, acldefault('{kind}', {owner}))) AS e"
        " GROUP BY e.grantee, e.grantor) AS grants)"
    )


def _collation(oid: str, usual: str) -> str:
    """SQL for the name of a collation that is not the usual one; PostgreSQL 12 has no regcollation."""
    return (
        f"CASE WHEN {oid} <> {usual} THEN (SELECT quote_ident(cn.nspname) || '.' || quote_ident(co.collname)"
        f" FROM pg_collation AS co JOIN pg_namespace AS cn ON cn.oid = co.collnamespace WHERE co.oid = {oid}) END"
    )


def _no_member(catalog: str, oid: str) -> str:
    """SQL for an object that belongs to no extension."""
    return (
        "NOT EXISTS (SELECT FROM pg_depend AS m WHERE m.deptype = 'e'"
        f" AND m.classid = '{catalog}'::regclass AND m.objid = {oid})"
    )


def _object(name: str, source: str, **properties: str) -> str:
    pairs = ", ".join(f"'{key.replace('_', ' ')}', {value}" for key, value in properties.items())
    return f"SELECT {name}, jsonb_strip_nulls(jsonb_build_object({pairs})) {source}"


# PostgreSQL 18 lists a NOT NULL among the constraints too. A name of PostgreSQL's own making is no difference.
_NOT_NULL = """CASE WHEN a.attnotnull THEN concat('NOT NULL', (
    SELECT concat(
        CASE WHEN k.conname <> left(c.relname || '_' || a.attname || '_not_null', 63) THEN ' named ' || k.conname END,
        CASE WHEN NOT k.convalidated THEN ' NOT VALID' END,
        CASE WHEN k.connoinherit THEN ' NO INHERIT' END)
    FROM pg_constraint AS k
    WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum])) END"""

_RELATION = """CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table'
    ELSE 'table' END || ' ' || c.oid::regclass::text"""
_FROM_RELATION = "FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
_IS_RELATION = f"""c.relkind IN ('r', 'p', 'v', 'm', 'f') AND [in schemas][kept]
    AND {_no_member("pg_class", "c.oid")}"""

#: The queries for what is in a schema.
_IN_SCHEMAS: Tuple[str, ...] = (
    _object(
        "'schema ' || quote_ident(n.nspname)",
        f"FROM pg_namespace AS n WHERE [in schemas] AND {_no_member('pg_namespace', 'n.oid')}",
        owner="pg_get_userbyid(n.nspowner)",
        grants=_acl("n.nspacl", "n", "n.nspowner"),
        comment="obj_description(n.oid, 'pg_namespace')",
    ),
    _object(
        _RELATION,
        f"""{_FROM_RELATION} LEFT JOIN pg_class AS t ON t.oid = c.reltoastrelid
        LEFT JOIN pg_am AS am ON am.oid = c.relam WHERE {_IS_RELATION}""",
        kind="c.relkind",
        persistence="c.relpersistence",
        owner="pg_get_userbyid(c.relowner)",
        row_security="c.relrowsecurity",
        forced_row_security="c.relforcerowsecurity",
        options="(SELECT jsonb_agg(o ORDER BY o) FROM unnest(c.reloptions) AS o)",
        toast_options="(SELECT jsonb_agg(o ORDER BY o) FROM unnest(t.reloptions) AS o)",
        replica_identity="c.relreplident",
        populated="c.relispopulated",
        access_method="am.amname",
        tablespace="(SELECT spcname FROM pg_tablespace WHERE oid = c.reltablespace)",
        of_type="nullif(c.reloftype, 0)::regtype",
        parents="""(SELECT jsonb_agg(i.inhparent::regclass ORDER BY i.inhseqno) FROM pg_inherits AS i
            WHERE i.inhrelid = c.oid)""",
        partition_of="pg_get_expr(c.relpartbound, c.oid)",
        partitioned_by="CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END",
        definition="CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END",
        foreign_server="""(SELECT concat(s.srvname, ' ', f.ftoptions) FROM pg_foreign_table AS f
            JOIN pg_foreign_server AS s ON s.oid = f.ftserver WHERE f.ftrelid = c.oid)""",
        grants=_acl("c.relacl", "r", "c.relowner"),
        comment="obj_description(c.oid, 'pg_class')",
    ),
    _object(
        f"{_RELATION} || ': column ' || quote_ident(a.attname)",
        f"""{_FROM_RELATION}
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        JOIN pg_type AS t ON t.oid = a.atttypid
        LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE {_IS_RELATION}""",
        # not attnum: a column that was dropped has used one up
        position="""(SELECT count(*) FROM pg_attribute AS b WHERE b.attrelid = a.attrelid
            AND b.attnum BETWEEN 1 AND a.attnum AND NOT b.attisdropped)""",
        type="format_type(a.atttypid, a.atttypmod)",
        collation=_collation("a.attcollation", "t.typcollation"),
        required="[not null]",
        default="pg_get_expr(d.adbin, d.adrelid)",
        identity="nullif(a.attidentity, '')",
        generated="nullif(a.attgenerated, '')",
        storage="CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage END",
        compression="[compression]",
        statistics_target="nullif(a.attstattarget, -1)",
        options="(SELECT jsonb_agg(o ORDER BY o) FROM unnest(a.attoptions) AS o)",
        inherited="nullif(a.attinhcount, 0)",
        grants=f"CASE WHEN a.attacl IS NOT NULL THEN {_acl('a.attacl', 'c', 'c.relowner')} END",
        comment="col_description(c.oid, a.attnum)",
    ),
    _object(
        f"{_RELATION} || ': constraint ' || quote_ident(k.conname)",
        f"{_FROM_RELATION} JOIN pg_constraint AS k ON k.conrelid = c.oid"
        f" WHERE k.contype NOT IN ('n', 't') AND {_IS_RELATION}",
        definition="pg_get_constraintdef(k.oid)",
        validated="k.convalidated",
        inherited="nullif(k.coninhcount, 0)",
        triggers="""(SELECT jsonb_agg(g.tgenabled ORDER BY g.tgenabled) FROM pg_trigger AS g
            WHERE g.tgconstraint = k.oid AND g.tgenabled <> 'O')""",
        comment="obj_description(k.oid, 'pg_constraint')",
    ),
    _object(
        "'index ' || x.indexrelid::regclass::text",
        f"""{_FROM_RELATION} JOIN pg_index AS x ON x.indrelid = c.oid JOIN pg_class AS i ON i.oid = x.indexrelid
        WHERE {_IS_RELATION}""",
        table="c.oid::regclass",
        definition="pg_get_indexdef(x.indexrelid)",
        valid="x.indisvalid",
        ready="x.indisready",
        live="x.indislive",
        owner="pg_get_userbyid(i.relowner)",
        clustered="nullif(x.indisclustered, FALSE)",
        replica_identity="nullif(x.indisreplident, FALSE)",
        tablespace="(SELECT spcname FROM pg_tablespace WHERE oid = i.reltablespace)",
        statistics_targets="""(SELECT jsonb_object_agg(a.attnum, a.attstattarget) FROM pg_attribute AS a
            WHERE a.attrelid = i.oid AND nullif(a.attstattarget, -1) IS NOT NULL)""",
        comment="obj_description(i.oid, 'pg_class')",
    ),
    _object(
        f"{_RELATION} || ': trigger ' || quote_ident(g.tgname)",
        f"{_FROM_RELATION} JOIN pg_trigger AS g ON g.tgrelid = c.oid WHERE NOT g.tgisinternal AND {_IS_RELATION}",
        definition="pg_get_triggerdef(g.oid)",
        enabled="g.tgenabled",
        comment="obj_description(g.oid, 'pg_trigger')",
    ),
    _object(
        f"{_RELATION} || ': policy ' || quote_ident(p.polname)",
        f"{_FROM_RELATION} JOIN pg_policy AS p ON p.polrelid = c.oid WHERE {_IS_RELATION}",
        command="p.polcmd",
        permissive="p.polpermissive",
        roles="""(SELECT jsonb_agg(name ORDER BY name) FROM (
            SELECT CASE WHEN r = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(r)::text END AS name
            FROM unnest(p.polroles) AS r) AS named)""",
        using="pg_get_expr(p.polqual, p.polrelid)",
        check="pg_get_expr(p.polwithcheck, p.polrelid)",
        comment="obj_description(p.oid, 'pg_policy')",
    ),
    _object(
        f"{_RELATION} || ': rule ' || quote_ident(r.rulename)",
        f"{_FROM_RELATION} JOIN pg_rewrite AS r ON r.ev_class = c.oid WHERE r.rulename <> '_RETURN' AND {_IS_RELATION}",
        definition="pg_get_ruledef(r.oid)",
        enabled="r.ev_enabled",
        comment="obj_description(r.oid, 'pg_rewrite')",
    ),
    _object(
        "'sequence ' || c.oid::regclass::text",
        f"""{_FROM_RELATION} JOIN pg_sequence AS s ON s.seqrelid = c.oid
        WHERE c.relkind = 'S' AND [in schemas][kept] AND {_no_member("pg_class", "c.oid")}""",
        type="s.seqtypid::regtype",
        start="s.seqstart",
        increment="s.seqincrement",
        minimum="s.seqmin",
        maximum="s.seqmax",
        cache="s.seqcache",
        cycle="s.seqcycle",
        persistence="c.relpersistence",
        owned_by="""(SELECT d.refobjid::regclass::text || '.' || quote_ident(a.attname)
            || CASE WHEN d.deptype = 'i' THEN ', identity' ELSE '' END
            FROM pg_depend AS d JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = d.classid
                AND d.deptype IN ('a', 'i'))""",
        owner="pg_get_userbyid(c.relowner)",
        grants=_acl("c.relacl", "s", "c.relowner"),
        comment="obj_description(c.oid, 'pg_class')",
    ),
    _object(
        "'function ' || p.oid::regprocedure::text",
        f"""FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
        JOIN pg_language AS l ON l.oid = p.prolang LEFT JOIN pg_aggregate AS g ON g.aggfnoid = p.oid
        WHERE [in schemas] AND {_no_member("pg_proc", "p.oid")}""",
        kind="p.prokind",
        arguments="pg_get_function_arguments(p.oid)",
        result="pg_get_function_result(p.oid)",
        language="l.lanname",
        body="p.prosrc",
        sql_body="[sql body]",
        library="p.probin",
        volatility="p.provolatile",
        security="CASE WHEN p.prosecdef THEN 'DEFINER' ELSE 'INVOKER' END",
        parallel="p.proparallel",
        strict="p.proisstrict",
        leakproof="p.proleakproof",
        cost="p.procost",
        rows="p.prorows",
        settings="to_jsonb(p.proconfig)",
        aggregate="""CASE WHEN g.aggfnoid IS NOT NULL THEN jsonb_build_array(g.aggkind, g.aggtransfn, g.aggfinalfn,
            g.aggtranstype::regtype, g.agginitval) END""",
        owner="pg_get_userbyid(p.proowner)",
        grants=_acl("p.proacl", "f", "p.proowner"),
        comment="obj_description(p.oid, 'pg_proc')",
    ),
    _object(
        "'type ' || t.oid::regtype::text",
        f"""FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace
        LEFT JOIN pg_class AS r ON r.oid = t.typrelid LEFT JOIN pg_range AS g ON g.rngtypid = t.oid
        WHERE t.typtype <> 'm' AND (r.oid IS NULL OR r.relkind = 'c') AND [in schemas]
            AND NOT EXISTS (SELECT FROM pg_type AS e WHERE e.typarray = t.oid)
            AND {_no_member("pg_type", "t.oid")}""",
        kind="t.typtype",
        labels="""(SELECT jsonb_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum AS e
            WHERE e.enumtypid = t.oid)""",
        attributes=f"""(SELECT jsonb_agg(
            concat_ws(' ', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
                {_collation("a.attcollation", "y.typcollation")}) ORDER BY a.attnum)
            FROM pg_attribute AS a JOIN pg_type AS y ON y.oid = a.atttypid
            WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped)""",
        base="CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END",
        required="nullif(t.typnotnull, FALSE)",
        default="t.typdefault",
        collation=_collation("t.typcollation", "(SELECT y.typcollation FROM pg_type AS y WHERE y.oid = t.typbasetype)"),
        constraints="""(SELECT jsonb_object_agg(k.conname, jsonb_build_array(pg_get_constraintdef(k.oid),
            k.convalidated)) FROM pg_constraint AS k WHERE k.contypid = t.oid AND k.contype <> 'n')""",
        range_of="g.rngsubtype::regtype",
        owner="pg_get_userbyid(t.typowner)",
        grants=_acl("t.typacl", "T", "t.typowner"),
        comment="coalesce(obj_description(t.oid, 'pg_type'), obj_description(r.oid, 'pg_class'))",
    ),
    _object(
        "'statistics ' || quote_ident(n.nspname) || '.' || quote_ident(s.stxname)",
        f"""FROM pg_statistic_ext AS s JOIN pg_namespace AS n ON n.oid = s.stxnamespace
        JOIN pg_class AS c ON c.oid = s.stxrelid
        WHERE [in schemas][kept] AND {_no_member("pg_statistic_ext", "s.oid")}""",
        definition="pg_get_statisticsobjdef(s.oid)",
        # PostgreSQL 13 and later
        target="nullif(to_jsonb(s) ->> 'stxstattarget', '-1')",
        owner="pg_get_userbyid(s.stxowner)",
        comment="obj_description(s.oid, 'pg_statistic_ext')",
    ),
)

#: The queries for what is in none, but belongs to the database.
_IN_THE_DATABASE: Tuple[str, ...] = (
    _object(
        """format('default privileges of %I%s on %s', pg_get_userbyid(d.defaclrole), ' in schema ' || n.nspname,
        CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions'
        WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' ELSE 'objects of kind ' || d.defaclobjtype::text END)""",
        "FROM pg_default_acl AS d LEFT JOIN pg_namespace AS n ON n.oid = d.defaclnamespace",
        grants=_acl("d.defaclacl", "c", "d.defaclrole"),
    ),
    _object(
        "'extension ' || quote_ident(e.extname)",
        "FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace",
        version="e.extversion",
        schema="n.nspname",
        owner="pg_get_userbyid(e.extowner)",
    ),
    _object(
        "'publication ' || quote_ident(p.pubname)",
        "FROM pg_publication AS p",
        owner="pg_get_userbyid(p.pubowner)",
        all_tables="p.puballtables",
        # PostgreSQL 13 and later have the way through the root, 18 generated columns
        actions="to_jsonb(p) - ARRAY['oid', 'pubname', 'pubowner', 'puballtables']",
        comment="obj_description(p.oid, 'pg_publication')",
    ),
    _object(
        "'publication ' || quote_ident(p.pubname) || ': table ' || c.oid::regclass::text",
        """FROM pg_publication AS p JOIN pg_publication_rel AS r ON r.prpubid = p.oid
        JOIN pg_class AS c ON c.oid = r.prrelid WHERE TRUE[kept]""",
        rows="[published rows]",
        columns="""(SELECT jsonb_agg(a.attname ORDER BY a.attnum) FROM pg_attribute AS a
            WHERE a.attrelid = r.prrelid AND a.attnum = ANY ([published columns]))""",
    ),
    _object(
        "'event trigger ' || quote_ident(e.evtname)",
        "FROM pg_event_trigger AS e",
        event="e.evtevent",
        function="e.evtfoid::regprocedure",
        enabled="e.evtenabled",
        tags="(SELECT jsonb_agg(t ORDER BY t) FROM unnest(e.evttags) AS t)",
        owner="pg_get_userbyid(e.evtowner)",
        comment="obj_description(e.oid, 'pg_event_trigger')",
    ),
)

#: The same, of PostgreSQL 15 and later.
_PUBLISHED_SCHEMAS = _object(
    "'publication ' || quote_ident(p.pubname) || ': schema ' || quote_ident(n.nspname)",
    """FROM pg_publication AS p JOIN pg_publication_namespace AS s ON s.pnpubid = p.oid
    JOIN pg_namespace AS n ON n.oid = s.pnnspid""",
)
