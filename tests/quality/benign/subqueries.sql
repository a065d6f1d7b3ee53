-- Sub-queries: scalar, IN, EXISTS, ANY, correlated, in FROM, in LATERAL.

--> id orders
select id, (select count(*) from orders o where o.customer = c.id) as orders from customers c order by id;

--> id mail* number
select o.id, (select email from customers c where c.id = o.customer) as mail, o.number from orders o order by o.id;

--> id name number
select o.id, (select name from customers c where c.id = o.customer) as name, o.number from orders o order by o.id;

--> id name
select id, name from customers where id in (select customer from orders where state = 'returned') order by id;

--> id name email*
select id, name, email from customers where id in (select customer from orders where state = 'returned') order by id;

--> id name
select id, name from customers c where exists (select 1 from cards k where k.customer = c.id and k.brand = 'visa') order by id;

--> id name
select id, name from customers c where not exists (select * from orders o where o.customer = c.id and o.total > 550) order by id;

--> id has
select id, exists (select from cards k where k.customer = c.id) as has from customers c order by id;

--> id total
select id, total from orders where total > all (select price from products where price < 40) order by id;

--> id total
select id, total from orders o where total > (select avg(total) from orders x where x.customer = o.customer) order by id;

--> country best
select country, best from (select country, max(score) as best from customers group by country) x where best > 100 order by country;

--> id name brand
select x.id, x.name, y.brand from (select id, name, email from customers) x join (select customer, brand, pan from cards) y on y.customer = x.id order by x.id;

--> id pan* name
select x.id, y.pan, x.name from (select id, name, email from customers) x join (select customer, brand, pan from cards) y on y.customer = x.id order by x.id;

--> n m
select (select count(*) from customers) as n, (select max(total) from orders) as m;

--> n longest*
select (select count(*) from customers) as n, (select max(email) from customers) as longest;

--> id pair
select id, (select row(o.number, o.total) from orders o where o.customer = c.id order by o.id limit 1)::text as pair from customers c order by id;

--> id last
select id, array(select o.number from orders o where o.customer = c.id order by o.id desc limit 2) as last from customers c order by id;

--> name a b
select name, a, b from customers c, lateral (select count(*) as a, sum(total) as b from orders o where o.customer = c.id) x order by c.id;

--> id inner
select id, (select (select max(line) from items i where i.order_id = o.id) + 1) as inner from orders o order by id;

--> id name
select id, name from customers where (country, tier) in (select country, tier from customers where id = 1) order by id;

--> id state
select id, state from orders where customer = any (select id from customers where active) order by id;

--> id name
select outermost.id, outermost.name from (select middle.* from (select * from customers) middle) outermost order by 1;

--> id email*
select outermost.id, outermost.email from (select middle.* from (select * from customers) middle) outermost order by 1;

--> id number
--$ pro
select id, number from orders where customer in (select id from customers where tier = $1::tier) order by id;

--> id rank
select id, rank from (select id, rank() over (order by total) from orders) r where rank < 9 order by rank;

--> worth
select sum(worth) as worth from (select quantity * price as worth from items) x;
