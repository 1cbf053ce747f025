-- Phase 1: whose objects they are. Asked of the catalog alone, before anything is read, adopted or written.
--
-- PostgreSQL runs what hangs on a table (the query of a view, triggers, checks, defaults, index expressions) with
-- the rights of whoever uses the table. A role that may only create in schema public could get the rights of
-- whoever migrates in this way. A table is trusted if its owner has the rights of the owner of public.users, and so
-- is code, unless a superuser has logged in: then it has to be a superuser's.
--
-- Each check is one query, like those of phase_1_preflight.sql. Headers:
--   level  error: the run is refused, and nothing else is asked
--   stage  names (of what Phase 1 creates; before the log and the organizations are read),
--          tables (of the application; before a row of them is read)
-- :owner_of_users and :trusted_with_code are the roles whose rights are asked for. :names, :functions and :at_stake are lists of rows that phase_1/trust.py fills in.

-- name: names_are_of_ordinary_tables
-- level: error
-- stage: names
SELECT
    'public.' || names.name AS object,
    format('is %s and belongs to %I: to read it is to run what that role has put into it, with the rights of %I',
        CASE c.relkind
            WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' WHEN 'f' THEN 'a foreign table'
            WHEN 'p' THEN 'a partitioned table' WHEN 'S' THEN 'a sequence' WHEN 'c' THEN 'a composite type'
            WHEN 'r' THEN 'a table that inherits or is inherited from' ELSE 'an index' END,
        pg_get_userbyid(c.relowner), session_user) AS problem,
    format('rename it: ALTER %s public.%I RENAME TO %I',
        CASE c.relkind WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END, names.name, 'former_' || names.name) AS action
FROM :names AS names (name)
JOIN pg_class AS c ON c.oid = to_regclass('public.' || names.name)
WHERE c.relkind <> 'r' OR c.relispartition
    OR EXISTS (SELECT FROM pg_inherits WHERE c.oid IN (inhrelid, inhparent));

-- name: names_belong_to_who_owns_the_tables
-- level: error
-- stage: names
SELECT
    CASE WHEN its.kind = 'f' THEN its.name ELSE 'public.' || its.name END AS object,
    format('belongs to %I, who does not have the rights of %I, the owner of public.users', pg_get_userbyid(its.owner),
        pg_get_userbyid(:owner_of_users)) AS problem,
    CASE its.kind
        WHEN 'f' THEN format('see what it is for; drop it: DROP ROUTINE %s', its.name)
        ELSE format('see what it is for; rename it: ALTER TABLE public.%1$I RENAME TO %2$I', its.name,
            'former_' || its.name) END AS action
FROM (
    SELECT 'r' AS kind, names.name, c.relowner AS owner
    FROM :names AS names (name)
    JOIN pg_class AS c ON c.oid = to_regclass('public.' || names.name)
    UNION ALL
    -- with other arguments too: a driver that sends texts without a type calls the one for texts
    SELECT 'f', p.oid::regprocedure::text, p.proowner
    FROM :functions AS functions (name)
    JOIN pg_proc AS p ON p.proname = functions.name AND p.pronamespace = to_regnamespace('public')
) AS its (kind, name, owner)
WHERE NOT pg_has_role(its.owner, :owner_of_users, 'MEMBER');

-- name: names_are_not_taken_on_the_way
-- level: error
-- stage: names
-- What is looked up without its schema is found in the first one of the search_path that has the name: the schema
-- that is called like the role, and those that the server, the database or a role has set.
WITH on_the_way (schema) AS (
    SELECT rolname::text FROM pg_roles
    UNION
    SELECT btrim(part, ' "')
    FROM (
        SELECT substr(setting, length('search_path=') + 1)
        FROM pg_db_role_setting, unnest(setconfig) AS setting
        WHERE setting LIKE 'search\_path=%'
            AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
        UNION ALL
        SELECT unnest(ARRAY[boot_val, reset_val]) FROM pg_settings WHERE name = 'search_path'
    ) AS paths (path)
    CROSS JOIN regexp_split_to_table(path, ',') AS part
)
SELECT
    its.name AS object,
    format('belongs to %I, who does not have the rights of %I, and has a name of Phase 1: sessions whose search_path '
        'has schema %I before public use it instead', pg_get_userbyid(its.owner), pg_get_userbyid(:owner_of_users),
        n.nspname) AS problem,
    'see what it is for; drop it: DROP ' || its.kind || ' ' || its.name AS action
FROM (
    SELECT
        CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE'
            ELSE 'TABLE' END AS kind,
        c.oid::regclass::text AS name, c.relnamespace AS namespace, c.relowner AS owner
    FROM :names AS names (name)
    JOIN pg_class AS c ON c.relname = names.name AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    UNION ALL
    SELECT 'ROUTINE', p.oid::regprocedure::text, p.pronamespace, p.proowner
    FROM :functions AS functions (name)
    JOIN pg_proc AS p ON p.proname = functions.name
) AS its
JOIN pg_namespace AS n ON n.oid = its.namespace AND n.nspname <> 'public'
WHERE n.nspname IN (SELECT schema FROM on_the_way) AND NOT pg_has_role(its.owner, :owner_of_users, 'MEMBER');

-- name: partition_keys_use_nothing_foreign
-- level: error
-- stage: names
-- Up to PostgreSQL 12 what is constant in a partition key is worked out whenever the table is opened: for its size,
-- or the definition of one of its indexes. A fingerprint opens the tables of every schema.
SELECT
    'table ' || p.partrelid::regclass AS object,
    format('has %s in its partition key, which belongs to %I: whoever opens the table runs it, here with the rights of '
        '%I', f.oid::regprocedure, pg_get_userbyid(f.proowner), session_user) AS problem,
    CASE WHEN pg_has_role(f.proowner, :owner_of_users, 'MEMBER') THEN format('connect as %I', pg_get_userbyid(f.proowner))
        ELSE format('see what it does; drop the table, or take the function over: ALTER ROUTINE %s OWNER TO %I',
            f.oid::regprocedure, pg_get_userbyid(:owner_of_users)) END AS action
FROM pg_partitioned_table AS p
JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = p.partrelid
LEFT JOIN pg_operator AS o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
JOIN pg_proc AS f ON f.oid = CASE d.refclassid WHEN 'pg_proc'::regclass THEN d.refobjid ELSE o.oprcode END
WHERE current_setting('server_version_num')::integer < 130000
    AND NOT pg_has_role(f.proowner, :trusted_with_code, 'MEMBER');

-- name: tables_belong_to_who_owns_users
-- level: error
-- stage: tables
SELECT
    format('public.%I', at_stake.name) AS object,
    format('belongs to %I, who does not have the rights of %I, the owner of public.users: what that role hangs on the '
        'table runs with the rights of whoever migrates', pg_get_userbyid(c.relowner), pg_get_userbyid(:owner_of_users))
        AS problem,
    format('ALTER TABLE public.%I OWNER TO %I', at_stake.name, pg_get_userbyid(:owner_of_users))
        || CASE WHEN at_stake.table_name = 'users' THEN ''
        ELSE format('; or leave the table out on purpose with --skip-table %s', at_stake.table_name) END AS action
FROM :at_stake AS at_stake (name, table_name, is_ours, is_updated)
JOIN pg_class AS c ON c.oid = to_regclass(format('public.%I', at_stake.name))
WHERE NOT pg_has_role(c.relowner, :owner_of_users, 'MEMBER')
UNION ALL
-- The other way round: who owns users only would be trusted with the rights of who owns the rest.
SELECT
    'public.users',
    format('belongs to %I, who does not have the rights of %I, the owner of %s', pg_get_userbyid(:owner_of_users),
        pg_get_userbyid(c.relowner), string_agg(c.oid::regclass::text, ', ')),
    format('ALTER TABLE public.users OWNER TO %I', pg_get_userbyid(c.relowner))
FROM :at_stake AS at_stake (name, table_name, is_ours, is_updated)
JOIN pg_class AS c ON c.oid = to_regclass(format('public.%I', at_stake.name))
JOIN pg_roles AS r ON r.oid = c.relowner AND NOT r.rolsuper
WHERE NOT pg_has_role(:owner_of_users, c.relowner, 'MEMBER')
GROUP BY c.relowner;

-- name: nothing_foreign_hangs_on_tables
-- level: error
-- stage: names, tables
WITH RECURSIVE at_stake AS MATERIALIZED (
    SELECT c.oid, at_stake.is_ours::boolean, at_stake.is_updated::boolean
    FROM :at_stake AS at_stake (name, table_name, is_ours, is_updated)
    JOIN pg_class AS c ON c.oid = to_regclass(format('public.%I', at_stake.name))
),
-- What may run when the table is read, planned for, or written in the way that the run writes it. The policies of
-- the application do not: row_security is off, which makes it an error where they would.
hung (classid, objid) AS (
    SELECT 'pg_class'::regclass::oid, i.indexrelid FROM at_stake AS t JOIN pg_index AS i ON i.indrelid = t.oid
    UNION ALL
    -- by its partition key
    SELECT 'pg_class'::regclass, p.partrelid FROM at_stake AS t JOIN pg_partitioned_table AS p ON p.partrelid = t.oid
    UNION ALL
    SELECT 'pg_constraint'::regclass, k.oid
    FROM at_stake AS t JOIN pg_constraint AS k ON k.conrelid = t.oid AND k.contype IN ('c', 'x')
    UNION ALL
    SELECT 'pg_statistic_ext'::regclass, s.oid FROM at_stake AS t JOIN pg_statistic_ext AS s ON s.stxrelid = t.oid
    UNION ALL
    SELECT 'pg_attrdef'::regclass, d.oid
    FROM at_stake AS t
    JOIN pg_attribute AS a ON a.attrelid = t.oid
    JOIN pg_attrdef AS d ON d.adrelid = t.oid AND d.adnum = a.attnum
    WHERE t.is_ours OR a.attgenerated <> ''
    UNION ALL
    SELECT 'pg_trigger'::regclass, g.oid
    FROM at_stake AS t
    JOIN pg_trigger AS g ON g.tgrelid = t.oid AND NOT g.tgisinternal AND g.tgenabled <> 'D'
    -- the bit of an UPDATE in tgtype
    WHERE t.is_ours OR (t.is_updated AND g.tgtype & 16 = 16)
    UNION ALL
    SELECT 'pg_rewrite'::regclass, r.oid
    FROM at_stake AS t JOIN pg_rewrite AS r ON r.ev_class = t.oid
    -- an event of 2 is an UPDATE
    WHERE t.is_ours OR (t.is_updated AND r.ev_type = '2')
    UNION ALL
    SELECT 'pg_policy'::regclass, p.oid FROM at_stake AS t JOIN pg_policy AS p ON p.polrelid = t.oid WHERE t.is_ours
    UNION ALL
    SELECT 'pg_type'::regclass, a.atttypid
    FROM at_stake AS t JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
),
-- All that it is made of: functions, operators with theirs, types with their checks, views with their queries.
made_of (root_class, root, classid, objid) AS (
    SELECT classid, objid, classid, objid FROM hung
    UNION
    SELECT made_of.root_class, made_of.root, further.classid, further.objid
    FROM made_of
    CROSS JOIN LATERAL (
        SELECT d.refclassid, d.refobjid
        FROM pg_depend AS d
        WHERE d.classid = made_of.classid AND d.objid = made_of.objid
            AND d.refclassid IN (
                'pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass, 'pg_class'::regclass,
                'pg_opclass'::regclass, 'pg_opfamily'::regclass)
        UNION ALL
        SELECT 'pg_rewrite'::regclass, r.oid
        FROM pg_rewrite AS r
        WHERE made_of.classid = 'pg_class'::regclass AND r.ev_class = made_of.objid AND r.rulename = '_RETURN'
        UNION ALL
        SELECT 'pg_constraint'::regclass, k.oid
        FROM pg_constraint AS k
        WHERE made_of.classid = 'pg_type'::regclass AND k.contypid = made_of.objid
        UNION ALL
        SELECT 'pg_proc'::regclass, a.amproc::oid
        FROM pg_amproc AS a
        WHERE made_of.classid = 'pg_opfamily'::regclass AND a.amprocfamily = made_of.objid
        UNION ALL
        SELECT 'pg_operator'::regclass, a.amopopr
        FROM pg_amop AS a
        WHERE made_of.classid = 'pg_opfamily'::regclass AND a.amopfamily = made_of.objid
    ) AS further (classid, objid)
),
owned (root_class, root, classid, objid, owner, is_code) AS (
    SELECT made_of.*, p.proowner, TRUE
    FROM made_of JOIN pg_proc AS p ON made_of.classid = 'pg_proc'::regclass AND p.oid = made_of.objid
    UNION ALL
    SELECT made_of.*, o.oprowner, FALSE
    FROM made_of JOIN pg_operator AS o ON made_of.classid = 'pg_operator'::regclass AND o.oid = made_of.objid
    UNION ALL
    SELECT made_of.*, t.typowner, FALSE
    FROM made_of JOIN pg_type AS t ON made_of.classid = 'pg_type'::regclass AND t.oid = made_of.objid
    UNION ALL
    SELECT made_of.*, c.relowner, FALSE
    FROM made_of JOIN pg_class AS c ON made_of.classid = 'pg_class'::regclass AND c.oid = made_of.objid
    WHERE made_of.objid NOT IN (SELECT oid FROM at_stake)
)
SELECT DISTINCT
    pg_describe_object(root_class, root, 0) AS object,
    CASE WHEN (root_class, root) = (classid, objid) THEN 'is the type of a column and'
        ELSE format('uses %s, which', pg_describe_object(classid, objid, 0)) END
        || format(' belongs to %I: it would run with the rights of %I', pg_get_userbyid(owner), session_user)
        AS problem,
    CASE WHEN pg_has_role(owner, :owner_of_users, 'MEMBER') THEN format('connect as %I', pg_get_userbyid(owner))
        ELSE format('see what it does; drop it, or take it over: ALTER %s OWNER TO %I',
            CASE classid
                WHEN 'pg_proc'::regclass THEN 'ROUTINE ' || objid::regprocedure
                WHEN 'pg_operator'::regclass THEN 'OPERATOR ' || objid::regoperator
                WHEN 'pg_type'::regclass THEN 'TYPE ' || objid::regtype
                ELSE 'TABLE ' || objid::regclass END,
            pg_get_userbyid(:owner_of_users)) END AS action
FROM owned
WHERE NOT pg_has_role(owner, CASE WHEN is_code THEN :trusted_with_code ELSE :owner_of_users END, 'MEMBER');
