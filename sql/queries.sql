-- Phase 1: the client-scoped queries of the application, one for each index.
--
-- index use, the benchmarks and the performance baseline all run these.
--   index   the index that is to serve the query
--   sample  a query for the values that it is run with: a row of the client's own, its columns by name

-- name: latest_users
-- index: idx_users_client_created_at
SELECT * FROM public.users
WHERE client_id = :'client_id'
ORDER BY :"time_column" DESC
LIMIT 50;

-- name: latest_uploads
-- index: idx_uploads_client_created_at
SELECT * FROM public.uploads
WHERE client_id = :'client_id'
ORDER BY :"time_column" DESC
LIMIT 50;

-- name: uploads_of_a_user
-- index: idx_uploads_client_user_id
-- sample: SELECT user_id FROM public.uploads
--         WHERE client_id = :'client_id' AND user_id IS NOT NULL LIMIT 1
SELECT * FROM public.uploads
WHERE client_id = :'client_id' AND user_id = :'user_id';

-- name: unfinished_uploads
-- index: idx_uploads_client_status
SELECT * FROM public.uploads
WHERE client_id = :'client_id' AND status IN ('pending', 'processing');

-- name: product_by_ean
-- index: idx_products_client_ean
-- sample: SELECT ean FROM public.products
--         WHERE client_id = :'client_id' AND ean IS NOT NULL LIMIT 1
SELECT * FROM public.products
WHERE client_id = :'client_id' AND ean = :'ean';

-- name: sales_of_a_month
-- index: idx_sellout_entries2_client_year_month
-- sample: SELECT year, month FROM public.sellout_entries2
--         WHERE client_id = :'client_id' AND year IS NOT NULL AND month IS NOT NULL LIMIT 1
SELECT product_ean, count(*) AS sales FROM public.sellout_entries2
WHERE client_id = :'client_id' AND year = :'year' AND month = :'month'
GROUP BY product_ean;

-- name: latest_sales
-- index: idx_sellout_entries2_client_created_at
SELECT * FROM public.sellout_entries2
WHERE client_id = :'client_id'
ORDER BY :"time_column" DESC
LIMIT 50;

-- name: sales_of_an_upload
-- index: idx_sellout_entries2_client_upload_id
-- sample: SELECT upload_id FROM public.sellout_entries2
--         WHERE client_id = :'client_id' AND upload_id IS NOT NULL LIMIT 1
SELECT * FROM public.sellout_entries2
WHERE client_id = :'client_id' AND upload_id = :'upload_id';

-- name: sales_of_a_reseller
-- index: idx_sellout_entries2_client_reseller
-- sample: SELECT reseller FROM (
--             SELECT reseller FROM public.sellout_entries2
--             WHERE client_id = :'client_id' AND reseller IS NOT NULL LIMIT 10000) AS seen
--         GROUP BY reseller ORDER BY count(*), reseller LIMIT 1
SELECT year, month, count(*) AS sales FROM public.sellout_entries2
WHERE client_id = :'client_id' AND reseller = :'reseller'
GROUP BY year, month;

-- name: sales_of_a_product
-- index: idx_sellout_entries2_client_product_ean
-- sample: SELECT product_ean FROM (
--             SELECT product_ean FROM public.sellout_entries2
--             WHERE client_id = :'client_id' AND product_ean IS NOT NULL LIMIT 10000) AS seen
--         GROUP BY product_ean ORDER BY count(*), product_ean LIMIT 1
SELECT year, month, count(*) AS sales FROM public.sellout_entries2
WHERE client_id = :'client_id' AND product_ean = :'product_ean'
GROUP BY year, month;

-- name: processing_log_of_an_upload
-- index: idx_processing_logs_client_upload_id
-- sample: SELECT upload_id FROM public.processing_logs
--         WHERE client_id = :'client_id' AND upload_id IS NOT NULL LIMIT 1
SELECT * FROM public.processing_logs
WHERE client_id = :'client_id' AND upload_id = :'upload_id';

-- name: latest_processing_logs
-- index: idx_processing_logs_client_created_at
SELECT * FROM public.processing_logs
WHERE client_id = :'client_id'
ORDER BY :"time_column" DESC
LIMIT 50;

-- name: transform_log_of_an_upload
-- index: idx_transform_logs_client_upload_id
-- sample: SELECT upload_id FROM public.transform_logs
--         WHERE client_id = :'client_id' AND upload_id IS NOT NULL LIMIT 1
SELECT * FROM public.transform_logs
WHERE client_id = :'client_id' AND upload_id = :'upload_id';

-- name: latest_transform_logs
-- index: idx_transform_logs_client_created_at
SELECT * FROM public.transform_logs
WHERE client_id = :'client_id'
ORDER BY :"time_column" DESC
LIMIT 50;

-- name: latest_emails
-- index: idx_email_logs_client_created_at
SELECT * FROM public.email_logs
WHERE client_id = :'client_id'
ORDER BY :"time_column" DESC
LIMIT 50;
