-- level: error
-- stage: names, tables
-- A table runs functions when it is read, planned for or written: in indexes, checks, triggers, rules, column types.
WITH RECURSIVE at_stake AS MATERIALIZED (
    SELECT at_stake.*, (
        SELECT a.attnum FROM pg_attribute AS a WHERE a.attrelid = at_stake.oid AND a.attname = 'client_id'
    ) AS client, r.rolsuper AS is_of_a_superuser
    FROM :at_stake AS at_stake (oid, table_name, is_ours, is_updated)
    JOIN pg_class AS c ON c.oid = at_stake.oid
    JOIN pg_roles AS r ON r.oid = c.relowner
),
-- What may run when the table is read, planned for, or written in the way that the run writes it. Policies do not:
-- row_security is off, which makes it an error where they would.
hung (of, classid, objid) AS (
    SELECT t.oid, 'pg_class'::regclass::oid, i.indexrelid FROM at_stake AS t JOIN pg_index AS i ON i.indrelid = t.oid
    UNION ALL
    -- by the types of its columns, its partition key and, up to PostgreSQL 14, its generated columns
    SELECT t.oid, 'pg_class'::regclass, t.oid FROM at_stake AS t
    UNION ALL
    SELECT t.oid, 'pg_constraint'::regclass, k.oid
    FROM at_stake AS t JOIN pg_constraint AS k ON k.conrelid = t.oid AND k.contype IN ('c', 'x')
    UNION ALL
    -- a foreign key that passes a new client_id on writes to the table that it is of
    SELECT t.oid, 'pg_constraint'::regclass, k.oid
    FROM at_stake AS t
    JOIN pg_constraint AS k ON k.confrelid = t.oid AND k.contype = 'f' AND k.confupdtype IN ('c', 'n', 'd')
    WHERE t.is_updated AND t.client = ANY (k.confkey)
    UNION ALL
    SELECT t.oid, 'pg_statistic_ext'::regclass, s.oid
    FROM at_stake AS t JOIN pg_statistic_ext AS s ON s.stxrelid = t.oid
    UNION ALL
    SELECT t.oid, 'pg_attrdef'::regclass, d.oid
    FROM at_stake AS t
    JOIN pg_attribute AS a ON a.attrelid = t.oid
    JOIN pg_attrdef AS d ON d.adrelid = t.oid AND d.adnum = a.attnum
    WHERE t.is_ours OR a.attgenerated <> ''
    UNION ALL
    SELECT t.oid, 'pg_trigger'::regclass, g.oid
    FROM at_stake AS t
    JOIN pg_trigger AS g ON g.tgrelid = t.oid AND NOT g.tgisinternal
    -- 4, 8 and 16 are the bits of INSERT, DELETE and UPDATE in tgtype; UPDATE OF other columns does not fire
    WHERE ((t.is_ours AND g.tgtype & 12 <> 0)
            OR (t.is_updated AND g.tgtype & 16 = 16 AND (g.tgattr::text = '' OR t.client = ANY (g.tgattr))))
        AND (g.tgenabled IN ('O', 'A')
            OR (g.tgenabled = 'R' AND current_setting('session_replication_role') = 'replica'))
    UNION ALL
    SELECT t.oid, 'pg_rewrite'::regclass, r.oid
    FROM at_stake AS t JOIN pg_rewrite AS r ON r.ev_class = t.oid
    -- an event of 2 is an UPDATE
    WHERE t.is_ours OR (t.is_updated AND r.ev_type = '2')
),
-- All that it is made of: functions, operators with theirs, types with their checks, views with their queries, and what
-- hangs on the tables that a rule or a foreign key writes to.
made_of (of, root_class, root, classid, objid) AS (
    SELECT of, classid, objid, classid, objid FROM hung
    UNION
    SELECT made_of.of, made_of.root_class, made_of.root, further.classid, further.objid
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
        SELECT 'pg_class'::regclass, y.typrelid
        FROM pg_type AS y
        WHERE made_of.classid = 'pg_type'::regclass AND y.oid = made_of.objid AND y.typrelid <> 0
        UNION ALL
        SELECT 'pg_proc'::regclass, a.amproc::oid
        FROM pg_amproc AS a
        WHERE made_of.classid = 'pg_opfamily'::regclass AND a.amprocfamily = made_of.objid
        UNION ALL
        SELECT 'pg_operator'::regclass, a.amopopr
        FROM pg_amop AS a
        WHERE made_of.classid = 'pg_opfamily'::regclass AND a.amopfamily = made_of.objid
        UNION ALL
        SELECT on_it.classid, on_it.objid
        FROM (
            SELECT 'pg_trigger'::regclass::oid, oid, tgrelid FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D'
            UNION ALL SELECT 'pg_constraint'::regclass, oid, conrelid FROM pg_constraint WHERE contype IN ('c', 'x')
            UNION ALL SELECT 'pg_class'::regclass, indexrelid, indrelid FROM pg_index
            UNION ALL SELECT 'pg_attrdef'::regclass, oid, adrelid FROM pg_attrdef
            UNION ALL SELECT 'pg_rewrite'::regclass, oid, ev_class FROM pg_rewrite WHERE rulename <> '_RETURN'
            UNION ALL SELECT 'pg_class'::regclass, inhrelid, inhparent FROM pg_inherits
        ) AS on_it (classid, objid, relation)
        WHERE made_of.classid = 'pg_class'::regclass AND on_it.relation = made_of.objid
            AND made_of.root_class IN ('pg_rewrite'::regclass, 'pg_constraint'::regclass)
    ) AS further (classid, objid)
    -- a table at stake is looked at for itself
    WHERE NOT (further.classid = 'pg_class'::regclass AND further.objid IN (SELECT oid FROM at_stake))
),
-- PostgreSQL's own functions are no object that anything depends on: they are found in the expressions. Some of them
-- run any SQL, read files or change settings, with the rights of whoever runs the expression.
expressions (of, root_class, root, classid, tree) AS (
    SELECT of, root_class, root, classid, g.tgqual::text
    FROM made_of JOIN pg_trigger AS g ON made_of.classid = 'pg_trigger'::regclass AND g.oid = made_of.objid
    UNION ALL
    SELECT of, root_class, root, classid, k.conbin::text
    FROM made_of JOIN pg_constraint AS k ON made_of.classid = 'pg_constraint'::regclass AND k.oid = made_of.objid
    UNION ALL
    SELECT of, root_class, root, classid, d.adbin::text
    FROM made_of JOIN pg_attrdef AS d ON made_of.classid = 'pg_attrdef'::regclass AND d.oid = made_of.objid
    UNION ALL
    SELECT of, root_class, root, classid, concat(i.indexprs, i.indpred)
    FROM made_of JOIN pg_index AS i ON made_of.classid = 'pg_class'::regclass AND i.indexrelid = made_of.objid
    UNION ALL
    SELECT of, root_class, root, classid, concat(r.ev_qual, r.ev_action)
    FROM made_of JOIN pg_rewrite AS r ON made_of.classid = 'pg_rewrite'::regclass AND r.oid = made_of.objid
),
powerful (of, root_class, root, classid, objid) AS (
    SELECT e.of, e.root_class, e.root, 'pg_proc'::regclass::oid, p.oid
    FROM expressions AS e
    JOIN at_stake AS t ON t.oid = e.of
    CROSS JOIN regexp_matches(e.tree, '[:](funcid|aggfnoid|winfnoid) (\d+)', 'g') AS called
    JOIN pg_proc AS p ON p.oid = called[2]::oid AND p.pronamespace = 'pg_catalog'::regnamespace
    WHERE :powerful
        -- anybody may have created a trigger; everything else is the owner's
        AND (e.classid = 'pg_trigger'::regclass
            OR (NOT t.is_of_a_superuser
                AND EXISTS (SELECT FROM pg_roles WHERE oid = :trusted_with_code AND rolsuper)))
),
owned (root_class, root, classid, objid, owner, is_trusted) AS (
    SELECT root_class, root, classid, objid, p.proowner, pg_has_role(p.proowner, :trusted_with_code, :rights)
    FROM made_of JOIN pg_proc AS p ON made_of.classid = 'pg_proc'::regclass AND p.oid = made_of.objid
    UNION ALL
    SELECT root_class, root, classid, objid, o.oprowner, pg_has_role(o.oprowner, :owner_of_users, :rights)
    FROM made_of JOIN pg_operator AS o ON made_of.classid = 'pg_operator'::regclass AND o.oid = made_of.objid
    UNION ALL
    -- an array has the owner of its element, a row type that of its table
    SELECT root_class, root, classid, objid, y.typowner, pg_has_role(y.typowner, :owner_of_users, :rights)
    FROM made_of
    JOIN pg_type AS y ON made_of.classid = 'pg_type'::regclass AND y.oid = made_of.objid
    WHERE NOT (y.typtype = 'b' AND y.typelem <> 0) AND (y.typrelid = 0 OR EXISTS (
        SELECT FROM pg_class AS c WHERE c.oid = y.typrelid AND c.relkind = 'c'))
    UNION ALL
    SELECT root_class, root, classid, objid, c.relowner, pg_has_role(c.relowner, :owner_of_users, :rights)
    FROM made_of
    JOIN pg_class AS c ON made_of.classid = 'pg_class'::regclass AND c.oid = made_of.objid
    -- an index has the owner of its table
    WHERE c.relkind NOT IN ('i', 'I', 'c')
    UNION ALL
    SELECT root_class, root, classid, objid, NULL, FALSE FROM powerful
)
SELECT DISTINCT
    pg_describe_object(root_class, root, 0) AS object,
    CASE
        WHEN owner IS NULL THEN format('calls %s, which can do anything with the rights of %I',
            pg_describe_object(classid, objid, 0), session_user)
        ELSE format('uses %s, which belongs to %I: it would run with the rights of %I',
            pg_describe_object(classid, objid, 0), pg_get_userbyid(owner), session_user)
    END AS problem,
    CASE
        WHEN root_class <> 'pg_trigger'::regclass AND (owner IS NULL OR pg_has_role(owner, :owner_of_users, :rights)) THEN
            'run it as the owner of the tables, not as a superuser'
        ELSE 'see what it is for; then drop it, or have the owner of the table create anew what it uses: '
            || CASE root_class
                WHEN 'pg_trigger'::regclass THEN (
                    SELECT format('DROP TRIGGER %I ON %s', tgname, tgrelid::regclass) FROM pg_trigger WHERE oid = root)
                WHEN 'pg_constraint'::regclass THEN (
                    SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname)
                    FROM pg_constraint WHERE oid = root)
                WHEN 'pg_class'::regclass THEN (
                    SELECT format(CASE WHEN relkind IN ('i', 'I') THEN 'DROP INDEX %s'
                        ELSE 'see the columns and the partition key of %s' END, root::regclass)
                    FROM pg_class WHERE oid = root)
                WHEN 'pg_statistic_ext'::regclass THEN (
                    SELECT format('DROP STATISTICS %s.%I', stxnamespace::regnamespace, stxname)
                    FROM pg_statistic_ext WHERE oid = root)
                WHEN 'pg_rewrite'::regclass THEN (
                    SELECT format('DROP RULE %I ON %s', rulename, ev_class::regclass) FROM pg_rewrite WHERE oid = root)
                WHEN 'pg_attrdef'::regclass THEN (
                    SELECT format('ALTER TABLE %s ALTER COLUMN %I DROP %s', adrelid::regclass, attname,
                        CASE attgenerated WHEN '' THEN 'DEFAULT' ELSE 'EXPRESSION' END)
                    FROM pg_attrdef JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
                    WHERE pg_attrdef.oid = root)
                END
    END AS action
FROM owned
WHERE NOT is_trusted;
