-- level: error
-- stage: preflight
-- each: organizations
SELECT
    'public.organizations' AS object,
    CASE WHEN name = 'Default Organization'
        THEN format('the name Default Organization belongs to the organization %s', slug)
        ELSE format('the id of the default organization belongs to the organization %s', slug) END AS problem,
    format('rename that one; or, where it is the default: UPDATE public.organizations SET slug = ''default-org'' '
        'WHERE slug = %L', slug) AS action
FROM public.organizations
WHERE NOT EXISTS (SELECT FROM public.organizations WHERE slug = 'default-org')
    AND (name = 'Default Organization' OR id = :'default_organization');
