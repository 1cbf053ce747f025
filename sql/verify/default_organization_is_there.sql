-- level: error
-- stage: verify
-- each: organizations
SELECT
    'public.organizations' AS object,
    'has no organization with the slug default-org' AS problem,
    coalesce((
        SELECT format('give it back: UPDATE public.organizations SET slug = ''default-org'' WHERE slug = %L', slug)
        FROM public.organizations
        WHERE id = :'default_organization'
    ), 'run the migration again') AS action
WHERE NOT EXISTS (SELECT FROM public.organizations WHERE slug = 'default-org');
