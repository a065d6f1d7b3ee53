-- What object-relational mappers send: quoted names, long lists of columns, aliases of their own, RETURNING, lateral loads.

--> customers_id customers_name customers_country
SELECT customers.id AS customers_id, customers.name AS customers_name, customers.country AS customers_country FROM customers ORDER BY customers.id;

--> customers_id customers_name customers_email* customers_ssn* customers_country
SELECT customers.id AS customers_id, customers.name AS customers_name, customers.email AS customers_email, customers.ssn AS customers_ssn, customers.country AS customers_country FROM customers ORDER BY customers.id;

--> id number state id_1 name country email*
SELECT orders.id, orders.number, orders.state, customers_1.id AS id_1, customers_1.name, customers_1.country, customers_1.email FROM orders LEFT OUTER JOIN customers AS customers_1 ON customers_1.id = orders.customer ORDER BY orders.id;

--> orders_customer orders_id orders_number
--$ 1 | 2 | 3
SELECT orders.customer AS orders_customer, orders.id AS orders_id, orders.number AS orders_number FROM orders WHERE orders.customer IN ($1::INTEGER, $2::INTEGER, $3::INTEGER) ORDER BY orders.id;

--> count_1
SELECT count(*) AS count_1 FROM (SELECT customers.id AS customers_id, customers.email AS customers_email, customers.name AS customers_name FROM customers) AS anon_1;

--> id name number
SELECT anon_1.id, anon_1.name, orders_1.number FROM (SELECT customers.id AS id, customers.name AS name, customers.email AS email FROM customers ORDER BY customers.id LIMIT 5) AS anon_1 LEFT OUTER JOIN orders AS orders_1 ON anon_1.id = orders_1.customer ORDER BY anon_1.id, orders_1.id;

--> id placed state
--$ 3
INSERT INTO orders (id, customer, total) VALUES (7001, $1::INTEGER, 12.5) RETURNING orders.id, orders.placed, orders.state;

--> id state
INSERT INTO orders (id, customer, number) SELECT p0::INTEGER, p1::INTEGER, p2::VARCHAR FROM (VALUES (7002, 1, 'A', 0), (7003, 2, 'B', 1)) AS imp_sen(p0, p1, p2, sen_counter) ORDER BY sen_counter RETURNING orders.id, orders.state;

--> id name email* country
SELECT "customers"."id", "customers"."name", "customers"."email", "customers"."country" FROM "customers" ORDER BY "customers"."id" ASC LIMIT 21;

--> id name
SELECT "customers"."id", "customers"."name" FROM "customers" WHERE ("customers"."active" AND UPPER("customers"."country"::text) = UPPER('de')) ORDER BY "customers"."id" ASC;

--> __count
SELECT COUNT(*) AS "__count" FROM "orders" INNER JOIN "customers" ON ("orders"."customer" = "customers"."id") WHERE "customers"."tier" = 'pro';

--> a
--$ 3
SELECT 1 AS "a" FROM "orders" WHERE "orders"."id" = $1 LIMIT 1;

--> state n total
SELECT "orders"."state", COUNT("orders"."id") AS "n", SUM("orders"."total") AS "total" FROM "orders" GROUP BY "orders"."state" ORDER BY "orders"."state" ASC;

--> id last
SELECT "customers"."id", (SELECT U0."number" FROM "orders" U0 WHERE U0."customer" = ("customers"."id") ORDER BY U0."placed" DESC LIMIT 1) AS "last" FROM "customers" ORDER BY 1;

--> month n
SELECT DATE_TRUNC('month', "orders"."placed" AT TIME ZONE 'UTC') AS "month", COUNT("orders"."id") AS "n" FROM "orders" GROUP BY 1 ORDER BY 1 ASC;

--> one
--$ 1
SELECT 1 AS one FROM "customers" WHERE "customers"."id" = $1 LIMIT 1;

--> t0_r0 t0_r1 t0_r2 t1_r0 t1_r1*
SELECT "orders"."id" AS t0_r0, "orders"."number" AS t0_r1, "orders"."state" AS t0_r2, "customers"."id" AS t1_r0, "customers"."email" AS t1_r1 FROM "orders" LEFT OUTER JOIN "customers" ON "customers"."id" = "orders"."customer" WHERE "orders"."state" = 'paid' ORDER BY "orders"."id" ASC;

--> count_all orders_state
SELECT COUNT(*) AS count_all, "orders"."state" AS orders_state FROM "orders" GROUP BY "orders"."state" ORDER BY 2;

--> id1_0_ name1_0_ total2_0_
select c1_0.id as id1_0_, c1_0.name as name1_0_, o1_0.total as total2_0_ from customers c1_0 join orders o1_0 on o1_0.customer=c1_0.id where o1_0.state='paid' order by o1_0.id offset 0 rows fetch first 20 rows only;

--> id name __orders
SELECT "t0"."id", "t0"."name", "Customer_orders"."__prisma_data__" AS "__orders" FROM "public"."customers" AS "t0" LEFT JOIN LATERAL (SELECT COALESCE(JSONB_AGG("__prisma_data__" ORDER BY "id"), '[]') AS "__prisma_data__" FROM (SELECT "t1"."id", JSONB_BUILD_OBJECT('id', "t1"."id", 'number', "t1"."number") AS "__prisma_data__" FROM "public"."orders" AS "t1" WHERE "t0"."id" = "t1"."customer") AS "t2") AS "Customer_orders" ON TRUE ORDER BY "t0"."id";

--> Customer__Customer_id Customer__Customer_name Customer__Customer_email*
SELECT "Customer"."id" AS "Customer__Customer_id", "Customer"."name" AS "Customer__Customer_name", "Customer"."email" AS "Customer__Customer_email" FROM "customers" "Customer" WHERE (("Customer"."tier" = 'pro')) ORDER BY "Customer"."id";

--> id state
--$ shipped | 5
UPDATE "orders" SET "state" = $1 WHERE ("id" = $2) RETURNING "id", "state";

--> id name email* phone* key
SELECT c0."id", c0."name", c0."email", c0."phone", c0."key" FROM "customers" AS c0 WHERE (c0."active") ORDER BY c0."id";

--> Id Name Orders
SELECT c."id" AS "Id", c."name" AS "Name", (SELECT count(*)::int FROM orders AS o WHERE c.id = o.customer) AS "Orders" FROM customers AS c ORDER BY c.id LIMIT 10 OFFSET 0;
