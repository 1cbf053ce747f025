-- level: warning
-- stage: verify
-- each: memberships
SELECT
    'public.user_organizations' AS object,
    format('%s users have no membership row at all and are taken for members of users.client_id', count(*))
        AS problem,
    'expected of users that the old application has added since; to take a user''s access away, set is_active '
        'to false instead of deleting the membership' AS action
FROM public.users AS u
WHERE NOT EXISTS (SELECT FROM public.user_organizations AS m WHERE m.user_id = u.id)
HAVING count(*) > 0;
