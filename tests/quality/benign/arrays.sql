-- Arrays, of text, numbers and composites.

--> id tags
select id, tags from customers order by id;

--> id first n
select id, tags[1] as first, cardinality(visits) as n from customers order by id;

--> id tag
select id, tag from customers, unnest(tags) tag order by id, tag;

--> id tag at
select id, t.tag, t.at from customers, unnest(tags) with ordinality as t (tag, at) order by 1, 3;

--> id visits piece
select id, visits, visits[1:2] as piece from customers order by id;

--> id more
select id, tags || 'extra'::text as more from customers where tags @> array['new'] order by id;

--> id mails* tags
select id, array[email, ssn] as mails, tags from customers order by id;

--> id joined
select id, array_to_string(tags, '/') as joined from customers order by id;

--> id sizes
select id, sizes from products order by id;

--> id width unit
select id, (sizes[1]).width, (sizes[1]).unit from products order by id;

--> id width height unit
select p.id, s.* from products p, unnest(p.sizes) s order by 1, 2;

--> id any_big place
select id, 20 < any (visits) as any_big, array_position(visits, 0) as place from customers order by id;

--> name skills overlap
select name, skills, skills && array['sql', 'law'] as overlap from employees order by id;

--> skill people salaries*
select skill, array_agg(name order by id) as people, array_agg(salary order by id) as salaries from employees, unnest(skills) skill group by skill order by skill;

--> numbers
select array(select number from orders where state = 'returned' order by id) as numbers;

--> id grid
select id, array[array[id, stock], array[stock, id]] as grid from products order by id;

--> a b c
select array['x', null, 'y"z'] as a, array[1.5, 2.25] as b, array[]::text[] as c;

--> sorted
select array_agg(distinct v order by v) as sorted from customers, unnest(visits) v;

--> id without replaced
select id, array_remove(tags, 'new') as without, array_replace(visits, 0, -1) as replaced from customers order by id;

--> id parts
select id, string_to_array(number, '-') as parts from orders order by id;

--> id name
--$ {1,2,3}
select id, name from customers where id = any ($1::int[]) order by id;

--> i value
select i, visits[i] as value from customers, generate_subscripts(visits, 1) i where id = 9 order by i;
