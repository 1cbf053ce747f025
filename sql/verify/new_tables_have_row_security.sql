-- level: error
-- stage: preflight, verify
SELECT
    c.oid::regclass::text AS object,
    CASE WHEN NOT c.relrowsecurity THEN 'has no row-level security'
        ELSE 'has no policy phase_1_denied that denies the roles of the web API' END AS problem,
    CASE WHEN NOT c.relrowsecurity THEN format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', c.oid::regclass)
        ELSE CASE WHEN EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid AND polname = 'phase_1_denied')
            THEN format('DROP POLICY phase_1_denied ON %s; ', c.oid::regclass) ELSE '' END
            || format('CREATE POLICY phase_1_denied ON %s AS RESTRICTIVE FOR ALL TO %s USING (FALSE)',
                c.oid::regclass, :'denied_roles_text') END AS action
FROM pg_class AS c
WHERE c.oid IN (
    to_regclass('public.organizations'), to_regclass('public.user_organizations'),
    to_regclass('public.migration_log'))
    AND (NOT c.relrowsecurity OR NOT EXISTS (
        SELECT FROM pg_policy AS p
        WHERE p.polrelid = c.oid AND p.polname = 'phase_1_denied' AND NOT p.polpermissive AND p.polcmd = '*'
            AND pg_get_expr(p.polqual, p.polrelid) = 'false'
            AND coalesce(pg_get_expr(p.polwithcheck, p.polrelid), 'false') = 'false'
            AND (p.polroles = ARRAY[0::oid] OR p.polroles @> ARRAY(
                SELECT oid FROM pg_roles WHERE rolname IN ('anon', 'authenticated')))));
