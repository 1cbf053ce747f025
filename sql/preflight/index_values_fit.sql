-- level: error
-- stage: preflight
-- each: indexed column of any width
SELECT
    format('public.%s.%s', :'table', :'column') AS object,
    format('has %s values of more than 2,600 bytes as they are stored, which no index takes', count(*)) AS problem,
    format('shorten them (WHERE pg_column_size(%I) > 2600), or --skip-index what is to be built on them', :'column')
        AS action
FROM public.:"table"
-- a third of a page, 2,704 bytes, less the client and what belongs to every entry
WHERE pg_column_size(:"column") > 2600
HAVING count(*) > 0;
