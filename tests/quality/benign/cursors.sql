-- Cursors, and statements that SQL prepares.

--> id name
declare c cursor for select id, name from customers order by id;
fetch 5 from c;

--> id email* name
declare c cursor for select id, email, name from customers order by id;
fetch forward 3 from c;

--> id name
declare c scroll cursor for select id, name from customers order by id;
move 10 in c;
fetch backward 4 from c;

--> id number
declare c no scroll cursor for select id, number from orders order by id;
fetch 100 from c;
fetch all from c;

--> id at kind
declare "My Cursor" insensitive cursor for select id, at, kind from events order by id;
fetch absolute 7 from "My Cursor";

--> digest id
declare c binary cursor for select digest, id from products order by id;
fetch 4 in c;

--> id title body*
declare c cursor for select id, title, body from documents order by id;
fetch next from c;

--> n
declare a cursor for select email from customers;
declare b cursor for select count(*) as n from customers;
fetch all from b;

--> id name
declare c cursor for select id, name from departments order by id for update;
fetch 1 from c;

--> id name
deallocate all;
prepare p (int) as select id, name from customers where id = $1;
execute p (4);

--> id name email*
deallocate all;
prepare p as select id, name, email from customers order by id;
execute p;

--> id state
deallocate all;
prepare p (state, int) as update orders set state = $1 where id = $2 returning id, state;
execute p ('shipped', 12);

--> country n
deallocate all;
prepare one as select email from customers;
prepare two (text) as select country, count(*) as n from customers where tier::text = $1 group by 1 order by 1;
execute two ('pro');

--> "QUERY PLAN"
explain (costs off) select id, name from customers where id = 3;

--> "QUERY PLAN"
explain (costs off, format json) select count(*) from orders where state = 'paid';

--> id name
savepoint s;
rollback to s;
release s;
select id, name from customers order by id limit 2;

--> id number
set local work_mem = '8MB';
set local enable_seqscan = off;
select id, number from orders where customer = 5 order by id;

--> server_encoding
show server_encoding;

--> work_mem
set local work_mem = '6MB';
show work_mem;

--> TimeZone
set local time zone 'Europe/Rome';
show timezone;

--> id placed
set local time zone 'Europe/Rome';
select id, placed from orders order by id limit 10;

--> digest
set local bytea_output = 'escape';
select digest from products order by id;

--> d
set local datestyle = 'German, DMY';
select placed::date as d from orders order by id;
