-- UNION, INTERSECT, EXCEPT, VALUES.

--> id name
select id, name from customers union select id, name from employees order by 1, 2;

--> id name
select id, name from customers union all select id, title from documents union all select id, name from products order by 1, 2;

--> id what*
select id, email as what from customers union all select id, name from products order by 1;

--> what* id name
select email as what, id, name from customers union all select pan, id, brand from cards order by 2, 3;

--> id
select id from customers intersect select customer from orders order by 1;

--> id
select id from products except select product from items order by 1;

--> country
(select country from customers order by signup limit 5) union (select country from customers order by signup desc limit 5) order by 1;

--> column1 column2
values (1, 'ORD-2024-000001'), (2, 'JD0146100000000977'), (3, null);

--> id label name
select v.id, v.label, c.name from (values (1, 'first'), (2, 'second')) v (id, label) join customers c on c.id = v.id order by 1;

--> n t
select 1 as n, 'a' as t union all select 2, 'b' union all select 3, 'c' union all values (4, 'd') order by 1;

--> id mail* kind
select id, null as mail, 'p' as kind from products union all select id, email, 'c' from customers order by 3, 1;

--> state n
select state::text, count(*) as n from orders group by state union all select 'all', count(*) from orders order by 1;

--> id pages
select id, pages from documents intersect all select id, pages from documents order by 1;

--> brand
select brand from cards except all select 'visa' from cards where id < 4 order by 1;

--> column1 column2
select * from (values (1, 2), (3, 4)) v where column1 > 1;

--> id ssn* name
(select id, ssn, name from customers where id < 4) union all (select id, passport, name from employees where id < 4) order by 1, 3;

--> n
select count(*) as n from (select id, email from customers union all select id, pan from cards) x;

--> n
--$ 5
select id as n from customers where id < $1 union select id from products where id < $1 order by 1;
