-- What reporting tools generate over tables: Metabase, Superset, Tableau, Power BI, Looker, Grafana.

--> state
SELECT "public"."orders"."state" AS "state" FROM "public"."orders" GROUP BY "public"."orders"."state" ORDER BY "public"."orders"."state" ASC LIMIT 1001;

--> id name email* substring102
-- Metabase:: userID: 1 queryType: MBQL queryHash: 9f2c1f0e6b7d5a4c3b2a19080706050403020100f0e0d0c0b0a0908070605040
SELECT "public"."customers"."id" AS "id", "public"."customers"."name" AS "name", "public"."customers"."email" AS "email", SUBSTRING("public"."customers"."notes", 1, 1234) AS "substring102" FROM "public"."customers" ORDER BY 1 LIMIT 10000;

--> placed count
SELECT CAST(DATE_TRUNC('month', "public"."orders"."placed") AS date) AS "placed", COUNT(*) AS "count" FROM "public"."orders" GROUP BY CAST(DATE_TRUNC('month', "public"."orders"."placed") AS date) ORDER BY CAST(DATE_TRUNC('month', "public"."orders"."placed") AS date) ASC;

--> Customers__country sum
SELECT "Customers"."country" AS "Customers__country", SUM("public"."orders"."total") AS "sum" FROM "public"."orders" LEFT JOIN "public"."customers" AS "Customers" ON "public"."orders"."customer" = "Customers"."id" GROUP BY "Customers"."country" ORDER BY "sum" DESC, "Customers"."country" ASC;

--> id Customers__email* total
SELECT "public"."orders"."id" AS "id", "Customers"."email" AS "Customers__email", "public"."orders"."total" AS "total" FROM "public"."orders" LEFT JOIN "public"."customers" AS "Customers" ON "public"."orders"."customer" = "Customers"."id" ORDER BY "public"."orders"."id" ASC LIMIT 50;

--> total count
SELECT "source"."total" AS "total", COUNT(*) AS "count" FROM (SELECT FLOOR(("public"."orders"."total" / 100.0)) * 100.0 AS "total", "public"."orders"."address" AS "address" FROM "public"."orders") AS "source" GROUP BY "source"."total" ORDER BY "source"."total" ASC;

--> lang count
SELECT ("public"."customers"."profile"#>> array['lang']::text[])::text AS "lang", COUNT(*) AS "count" FROM "public"."customers" GROUP BY 1 ORDER BY 1;

--> state "SUM(total)" n
SELECT state AS state, sum(total) AS "SUM(total)", count(*) AS n FROM public.orders WHERE placed >= '2024-01-01 00:00:00.000000' AND placed < '2025-01-01 00:00:00.000000' GROUP BY state ORDER BY "SUM(total)" DESC LIMIT 10000;

--> __timestamp country metric
SELECT DATE_TRUNC('week', placed) AS __timestamp, c.country AS country, COUNT(*) AS metric FROM (select o.*, c.email from orders o join customers c on c.id = o.customer) AS virtual_table JOIN customers c ON c.id = virtual_table.customer GROUP BY DATE_TRUNC('week', placed), c.country ORDER BY 1, 2;

--> column_name column_max
SELECT 'total' AS column_name, MAX(total) AS column_max FROM orders;

--> country sum:total:ok
SELECT CAST("customers"."country" AS TEXT) AS "country", SUM("orders"."total") AS "sum:total:ok" FROM "public"."orders" "orders" INNER JOIN "public"."customers" "customers" ON ("orders"."customer" = "customers"."id") GROUP BY 1 ORDER BY 1;

--> TEMP(x)(1) yr
SELECT SUM("orders"."total") AS "TEMP(x)(1)", CAST(TRUNC(EXTRACT(YEAR FROM "orders"."placed")) AS INTEGER) AS "yr" FROM "public"."orders" "orders" GROUP BY 2 ORDER BY 2;

--> state a0
select "_"."state", "_"."a0" from (select "rows"."state" as "state", sum("rows"."total") as "a0" from (select "state", "total" from "public"."orders" "$Table") "rows" group by "state") "_" where not "_"."a0" is null order by 1 limit 1000001;

--> orders.state customers.count
SELECT orders.state AS "orders.state", COUNT(DISTINCT customers.id) AS "customers.count" FROM public.orders AS orders LEFT JOIN public.customers AS customers ON orders.customer = customers.id GROUP BY 1 ORDER BY 2 DESC, 1 FETCH NEXT 500 ROWS ONLY;

--> time metric value
SELECT floor(extract(epoch from at)/86400)*86400 AS "time", kind AS metric, count(*) AS value FROM events WHERE at BETWEEN '2024-01-01T00:00:00Z' AND '2024-02-15T00:00:00Z' GROUP BY 1, 2 ORDER BY 1, 2;

--> country pro plus free
SELECT country, sum(CASE WHEN tier = 'pro' THEN 1 ELSE 0 END) AS pro, count(*) FILTER (WHERE tier = 'plus') AS plus, sum((tier = 'free')::int) AS free FROM customers GROUP BY country ORDER BY country;

--> cohort month customers
WITH first AS (SELECT customer, min(date_trunc('month', placed)) AS cohort FROM orders GROUP BY 1), activity AS (SELECT o.customer, f.cohort, date_trunc('month', o.placed) AS month FROM orders o JOIN first f USING (customer)) SELECT cohort, month, count(DISTINCT customer) AS customers FROM activity GROUP BY 1, 2 ORDER BY 1, 2;

--> name spent bucket
SELECT name, spent, CASE WHEN spent >= 1000 THEN 'A' WHEN spent >= 500 THEN 'B' ELSE 'C' END AS bucket FROM (SELECT c.name, coalesce(sum(o.total), 0) AS spent FROM customers c LEFT JOIN orders o ON o.customer = c.id GROUP BY c.id) x ORDER BY spent DESC, name;

--> table_name row_estimate
SELECT relname AS table_name, reltuples::bigint AS row_estimate FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'm') ORDER BY 1;
