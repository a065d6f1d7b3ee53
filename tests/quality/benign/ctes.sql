-- WITH, plain, chained, recursive, and with statements that change rows.

--> id name
with x as (select id, name, email from customers) select id, name from x order by id;

--> id email*
with x as (select * from customers) select id, email from x order by id;

--> name mail* n
with x (n, mail, name) as (select id, email, name from customers) select name, mail, n from x order by n;

--> country n
with x as materialized (select * from customers), y as (select country, count(*) as n from x group by country) select * from y order by 1;

--> id total rank
with best as (select id, total from orders order by total desc limit 10), ranked as (select id, total, row_number() over (order by total desc) as rank from best)
select * from ranked order by rank;

--> id name number
with o as not materialized (select * from orders where state = 'paid'), c as (select * from customers)
select o.id, c.name, o.number from o join c on c.id = o.customer order by o.id;

--> id email* number
with o as (select id, customer, number from orders where state = 'paid'), c as (select id, email from customers)
select o.id, c.email, o.number from o join c on c.id = o.customer order by o.id;

--> n
with recursive t (n) as (values (1) union all select n + 1 from t where n < 20) select n from t;

--> id name path
with recursive tree as (
    select id, name, name as path from categories where parent is null
    union all select c.id, c.name, t.path || ' > ' || c.name from categories c join tree t on c.parent = t.id)
select id, name, path from tree order by path;

--> id name depth
with recursive chain (id, name, salary, depth) as (
    select id, name, salary, 0 from employees where manager is null
    union all select e.id, e.name, e.salary, depth + 1 from employees e join chain c on e.manager = c.id)
select id, name, depth from chain order by id;

--> id name salary* depth
with recursive chain (id, name, salary, depth) as (
    select id, name, salary, 0 from employees where manager is null
    union all select e.id, e.name, e.salary, depth + 1 from employees e join chain c on e.manager = c.id)
select id, name, salary, depth from chain order by id;

--> id depth way
with recursive chain (id, depth) as (
    select id, 0 from employees where manager is null
    union all select e.id, depth + 1 from employees e join chain c on e.manager = c.id) search depth first by id set way
select id, depth, way from chain order by way;

--> id is_cycle path
with recursive chain (id) as (
    select 1 union all select e.id from employees e join chain c on e.manager = c.id) cycle id set is_cycle using path
select id, is_cycle, path from chain order by id;

--> day n
with days as (select generate_series(date '2024-01-03', date '2024-01-20', interval '1 day')::date as day)
select d.day, count(o.id) as n from days d left join orders o on o.placed::date = d.day group by d.day order by d.day;

--> day running
with d as (select placed::date as day, sum(total) as s from orders group by 1) select day, sum(s) over (order by day) as running from d order by day;

--> id number
with gone as (delete from items where order_id = 7 returning order_id) select distinct o.id, o.number from orders o join gone g on g.order_id = o.id;

--> id state address*
with moved as (update orders set state = 'shipped' where id in (3, 4, 5) returning id, state, address) select * from moved order by id;

--> id name
with a as (select id, name from customers where tier = 'pro'), b as (select id, name from employees) select * from a union all select * from b order by 1, 2;

--> kind id
with u as (select 'c' as kind, id, email as secret from customers union all select 'k', id, pan from cards) select kind, id from u order by 1, 2;

--> kind secret* id
with u as (select 'c' as kind, id, email as secret from customers union all select 'k', id, pan from cards) select kind, secret, id from u order by 1, 3;

--> a b
with x as (select 1 as a), y as (with x as (select 2 as b) select * from x) select x.a, y.b from x, y;

--> name lines
with recursive n as (select o.id, 0 as k from orders o where id = 1 union select n.id, k + 1 from n where k < 3)
select c.name, max(k) as lines from n join orders o using (id) join customers c on c.id = o.customer group by c.name;

--> id n
--$ paid
with o as (select * from orders where state = $1::state) select customer as id, count(*) as n from o group by 1 order by 1;
