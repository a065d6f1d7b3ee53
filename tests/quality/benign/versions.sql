-- What PostgreSQL 16 to 18 added.

--> id state total
--v 18
update orders set total = total + 1 where id < 4 returning new.id, old.state, new.total;

--> before after address*
--v 18
update orders set total = total + 1 where id < 4 returning old.total as before, new.total as after, address;

--> merge_action id name
--v 18
merge into departments d using (values (1, 'x'), (7, 'y')) v (id, name) on v.id = d.id when matched then update set budget = 1 when not matched then insert values (v.id, v.name, 0, null) returning merge_action(), d.id, d.name;

--> id colour
--v 18
select p.id, j.colour from products p, json_table(p.details, '$' columns (colour text path '$.colour')) j order by p.id;

--> id colour n
--v 18
select id, json_value(details, '$.colour') as colour, json_query(details, '$.parts[0].n') as n from products order by id;

--> any_name n
--v 16
select any_value(name) as any_name, count(*) as n from customers where country = 'DE' and id < 7 group by country;

--> a b
--v 16
select 0xff as a, 1_000_000 as b;

--> list
--v 16
select json_arrayagg(name order by id) as list from departments;

--> id casefold
--v 18
select id, lower(name) as casefold from customers order by id;
