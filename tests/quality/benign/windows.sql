-- Window functions.

--> id rank
select id, rank() over (order by total desc) as rank from orders order by id;

--> id state place total
select id, state, row_number() over (partition by state order by total desc) as place, total from orders order by state, place;

--> id email* place
select id, email, row_number() over (order by score, id) as place from customers order by id;

--> id before after
select id, lag(total) over (order by id) as before, lead(total, 2, 0) over (order by id) as after from orders order by id;

--> id running
select id, sum(total) over (order by placed rows between unbounded preceding and current row) as running from orders order by id;

--> id moving
select id, round(avg(total) over (order by id rows between 2 preceding and 2 following), 2) as moving from orders order by id;

--> id first last nth
select id, first_value(number) over w as first, last_value(number) over w as last, nth_value(number, 2) over w as nth
  from orders window w as (partition by customer order by id rows between unbounded preceding and unbounded following) order by id;

--> id quarter share
select id, ntile(4) over (order by total) as quarter, cume_dist() over (order by total) as share from orders order by id;

--> name part
select name, round(rating / sum(rating) over (partition by department) * 100)::int as part from employees order by id;

--> name salary* part
select name, salary, percent_rank() over (order by hired) as part from employees order by id;

--> name total_pay* n
select name, sum(salary) over (partition by department) as total_pay, count(*) over (partition by department) as n from employees order by id;

--> day sensor value change
select day, sensor, value, value - lag(value) over (partition by sensor order by day) as change from measures order by day, sensor;

--> day total week
select placed::date as day, sum(total) as total, sum(sum(total)) over (order by placed::date range between interval '7 days' preceding and current row) as week from orders group by 1 order by 1;

--> id n
select id, count(*) over (partition by country order by signup groups between 1 preceding and 1 following exclude current row) as n from customers order by id;

--> country name best
select country, name, best from (select country, name, dense_rank() over (partition by country order by score desc) as best from customers) x where best <= 2 order by country, best, name;

--> id mail_before* name_before
select id, lag(email) over (order by id) as mail_before, lag(name) over (order by id) as name_before from customers order by id;

--> session n
select session, count(*) as n from (select id, sum(case when gap > interval '20 hours' or gap is null then 1 else 0 end) over (order by at) as session
  from (select id, at, at - lag(at) over (order by at) as gap from events) g) s group by session order by session;

--> id name top
--$ 3
select id, name, row_number() over (order by score desc, id) <= $1 as top from customers order by id;
