-- level: warning
-- stage: preflight
-- each: organizations
SELECT
    'public.organizations' AS object,
    'the organization default-org is there already and is not active: the functions will deny everybody'
        AS problem,
    'UPDATE public.organizations SET is_active = true WHERE slug = ''default-org''' AS action
FROM public.organizations
WHERE slug = 'default-org' AND is_active IS NOT TRUE;
