-- INSERT, UPDATE, DELETE and MERGE with RETURNING.

--> id name
insert into departments values (9, 'Night', 5, null) returning id, name;

--> id number state
insert into orders (id, customer, number) values (901, 1, 'ORD-2024-000901'), (902, 2, 'ORD-2024-000902') returning id, number, state;

--> id placed state total
select setval('orders_id_seq', 5000);
insert into orders (customer) values (3) returning id, placed, state, total;

--> id address* number
insert into orders (id, customer, address, number) select id + 700, customer, address, number from orders where id < 4 returning id, address, number;

--> id customer placed state total coupon number shipping packed took
insert into orders (id, customer) values (911, 4) returning id, customer, placed, state, total, coupon, number, shipping, packed, took;

--> id name fresh
insert into departments values (1, 'Sales', 1, null) on conflict (id) do update set budget = excluded.budget returning id, name, xmax = 0 as fresh;

--> id
insert into departments values (1, 'x', 1, null), (77, 'y', 2, null) on conflict do nothing returning id;

--> id state
update orders set state = 'shipped' where id between 10 and 15 returning id, state;

--> id state total
update orders o set total = o.total + i.extra from (values (1, 5), (2, 7)) i (id, extra) where i.id = o.id returning o.id, o.state, o.total;

--> id name email*
update customers set tier = 'pro' where id in (4, 5) returning id, name, email;

--> id name tier
update customers set tier = 'pro' where id in (4, 5) returning id, name, tier;

--> id name customer
update orders o set coupon = 'X' from customers c where c.id = o.customer and o.id < 5 returning o.id, c.name, o.customer;

--> order_id line quantity
delete from items where order_id = 3 returning order_id, line, quantity;

--> line name
delete from items i using products p where p.id = i.product and i.order_id = 4 returning i.line, p.name;

--> order_id line product quantity price
delete from items where order_id = 5 returning *;

--> id name budget opened
update departments set budget = budget * 1.1 where id < 3 returning *;

--> id doubled
update products set stock = stock * 2 where id = 3 returning id, stock as doubled;

--> id name salary*
update employees set rating = 5 where id = 4 returning id, name, salary;

--> id rating
update employees set salary = 1 where id = 4 returning id, rating;

--> id email*? name
insert into customers (id, name, email, country, tier, score, tags, profile, settings, visits, signup, member, key, active)
  values (99, 'New', 'someone', 'DE', 'free', 1, '{}', '{}', '{}', '{}', '2024-01-01', 'empty', '00000000-0000-0000-0000-000000000001', true) returning id, email, name;

--> n
with d as (delete from items where order_id < 10 returning *) select count(*) as n from d;

--> id name budget
merge into departments d using (values (1, 'Sales', 7), (8, 'Night', 8)) v (id, name, budget) on v.id = d.id
  when matched then update set budget = v.budget when not matched then insert values (v.id, v.name, v.budget, null);
select id, name, budget from departments order by id;

--> id state
update orders set state = 'paid' where id = 8;
select id, state from orders where id between 6 and 9 order by id;

--> id stock
--$ 5 | 3
update products set stock = stock - $1::int where id = $2::int returning id, stock;

--> id
--$ 33
delete from cards where id = $1::int - 4 returning id;
