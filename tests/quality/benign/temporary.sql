-- Relations that only this session sees, or that the open transaction has made.

--> id total
--! they were read from a temporary relation
create temp table mine as select id, total from orders where id < 20;
select id, total from mine order by id;

--> id n
--! they were read from a temporary relation
create temp table counts (id int, n bigint);
insert into counts select customer, count(*) from orders group by customer;
select c.id, t.n from customers c join counts t on t.id = c.id order by c.id;

--> id name
--! they were read from what the open transaction had made
create table fresh (id int, name text);
insert into fresh values (1, 'one');
select id, name from fresh;

--> id name
create temp table other (id int);
select id, name from customers order by id;
