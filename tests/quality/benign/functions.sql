-- Calls of the database's own functions: nobody reads their bodies, so what they give may depend on every label.

--> id vat
--! a function of the database's own gave them
select id, vat(total) as vat from orders order by id;

--> id total day
--! a function of the database's own gave them
select id, total, weekday(placed) as day from orders order by id;

--> line name quantity
--! a function of the database's own gave them
select * from order_lines(3) order by line;

--> number vat
--! a function of the database's own gave them
select number, sum(vat(total, 0.07)) as vat from orders where id < 10 group by number order by number;

--> id mail* name
--! a function of the database's own gave them
select id, mail_of(id) as mail, name from customers order by id;
