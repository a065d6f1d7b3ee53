-- The database of the benign corpus. What differs between two loads of it under another `benign.salt` is what is
-- labelled, and what is made of that; everything else is the same to the last bit. Ordinary columns hold what detectors
-- have most often been wrong about: numbers of orders, parcels and goods, digests, identifiers, moments, versions, code.

create function secret(text) returns text language sql immutable as
    $$select md5($1 || '/' || current_setting('benign.salt'))$$;
create function digits(text, int) returns text language sql immutable as
    $$select substr(translate(secret($1) || secret($1 || 'x'), 'abcdef', '123456'), 1, $2)$$;
create function pick(int, variadic text[]) returns text language sql immutable as
    $$select $2[1 + $1 % cardinality($2)]$$;
create function ean(text) returns text language sql immutable as
    $$select $1 || (1000 - sum(substr($1, i, 1)::int * case when i % 2 = 0 then 3 else 1 end)) % 10 from generate_series(1, 12) i$$;

create type tier as enum ('free', 'plus', 'pro');
create type state as enum ('open', 'paid', 'shipped', 'returned');
create type place as (street text, city text, floor int);
create type size as (width numeric, height numeric, unit text);
create domain sku as text check (value like 'P-%');

create table customers (
    id       int primary key,
    name     text not null,
    email    text not null,                                         -- labelled
    ssn      text,                                                  -- labelled
    phone    text,                                                  -- labelled
    born     date,                                                  -- labelled
    home     place,                                                 -- labelled
    country  char(2) not null,
    tier     tier not null,
    score    numeric(6, 2) not null,
    tags     text[] not null,
    profile  jsonb not null,
    settings json not null,
    visits   int[] not null,
    signup   timestamptz not null,
    member   daterange not null,
    key      uuid not null,
    active   boolean not null,
    notes    text,
    contact  text generated always as (name || ' ' || email) stored,    -- of a labelled one
    initial  text generated always as (upper(left(name, 1))) stored
);
insert into customers (id, name, email, ssn, phone, born, home, country, tier, score, tags, profile, settings, visits,
                       signup, member, key, active, notes)
select i, 'Client ' || i, secret('e' || i) || '@example.org', digits('s' || i, 3) || '-' || digits('t' || i, 2),
       case when i % 5 > 0 then '+4930' || digits('p' || i, 7) end,
       date '1950-01-01' + ('x' || substr(secret('b' || i), 1, 4))::bit(16)::int % 18000,
       row(secret('h' || i) || ' street', pick(i, 'Oslo', 'Rome', 'Lyon'), i % 9)::place,
       pick(i, 'DE', 'NL', 'GB', 'FR', 'US'), pick(i * 3, 'free', 'plus', 'pro', 'free')::tier, (i * 37 % 1000) / 7.0,
       array[pick(i, 'new', 'loyal', 'asleep'), 'batch-' || i % 4],
       jsonb_build_object('lang', pick(i, 'de', 'en', 'fr'), 'theme', jsonb_build_object('dark', i % 2 = 0, 'size', i % 5),
                          'seen', jsonb_build_array(i, i * 2, i * 3), 'ref', 'REF-' || 2000 + i || '-' || 100000 + i * 7919),
       json_build_object('mail', i % 2 = 1, 'limit', i * 1.5), array[i, i % 7, i * i], timestamptz '2024-01-01 08:00+00' + i * interval '31 hours',
       daterange(date '2024-01-01' + i, date '2025-01-01' + i), md5('key' || i)::uuid, i % 4 > 0,
       pick(i, null, 'asked for invoice 2024-11-00' || i, 'parcel 1Z999AA1012345' || 6700 + i,
            'see https://shop.example/orders/' || 100000 + i || '?tab=items&page=2')
  from generate_series(1, 40) i;

create table departments (id int primary key, name text not null, budget numeric(12, 2), opened date);
insert into departments values (1, 'Sales', 120000.50, '2019-04-01'), (2, 'Workshop', 80000, '2020-01-15'),
    (3, 'Research', 99999.99, null), (4, 'Archive', 0, '2001-12-31');

create table employees (
    id          int primary key,
    name        text not null,
    title       text not null,
    department  int references departments,
    manager     int references employees,
    hired       date not null,
    salary      numeric(10, 2) not null,                            -- labelled
    passport    text not null,                                      -- labelled
    skills      text[] not null,
    rating      real not null
);
insert into employees
select i, 'Worker ' || i, pick(i, 'clerk', 'engineer', 'lead'), 1 + i % 3, nullif(i / 3, 0), date '2015-03-01' + i * 97,
       30000 + digits('w' || i, 4)::int, 'C' || digits('q' || i, 8), array[pick(i, 'sql', 'wood'), pick(i * 2, 'go', 'tax', 'law')],
       i / 4.0
  from generate_series(1, 15) i;

create table categories (id int primary key, parent int references categories, name text not null);
insert into categories values (1, null, 'All'), (2, 1, 'Tools'), (3, 1, 'Books'), (4, 2, 'Saws'), (5, 2, 'Drills'), (6, 3, 'Maps');

create table products (
    id        int primary key,
    sku       sku not null unique,
    name      text not null,
    category  int not null references categories,
    price     numeric(10, 2) not null,
    stock     int not null,
    barcode   text not null,
    details   jsonb not null,
    sizes     size[] not null,
    words     tsvector,
    digest    bytea not null,
    release   text not null
);
insert into products
select i, 'P-' || lpad((i * 7717)::text, 6, '0'), pick(i, 'Saw', 'Drill', 'Map', 'Plane', 'Lamp') || ' ' || i, 1 + i % 6,
       (i * 173 % 9000) / 100.0, i * 13 % 50, ean((400638100000 + i * 33393)::text),
       jsonb_build_object('colour', pick(i, 'red', 'blue'), 'weight', i * 0.25, 'parts', jsonb_build_array(
           jsonb_build_object('no', i || '-A', 'n', i % 3), jsonb_build_object('no', i || '-B', 'n', i % 4))),
       array[row(i, i * 2, 'mm')::size, row(i * 1.5, 3, 'cm')::size], to_tsvector('simple', 'good tool number ' || i),
       decode(md5('digest' || i), 'hex'), i % 4 || '.' || i % 10 || '.' || i
  from generate_series(1, 25) i;

create table orders (
    id        int generated by default as identity primary key,
    customer  int not null references customers,
    placed    timestamptz not null default '2024-06-01 00:00+00',
    state     state not null default 'open',
    total     numeric(12, 2) not null default 0,
    coupon    text,
    number    text not null default 'ORD-2024-000000',
    address   text,                                                 -- labelled
    shipping  jsonb not null default '{}',
    packed    time,
    took      interval
);
insert into orders
select i, 1 + i * 7 % 40, timestamptz '2024-01-03 10:15:30.5+00' + i * interval '57 hours',
       pick(i, 'open', 'paid', 'shipped', 'paid', 'returned')::state, (i * 991 % 70000) / 100.0,
       case when i % 3 = 0 then 'SAVE' || i % 4 * 5 end, 'ORD-2024-' || lpad(i::text, 6, '0'),
       secret('a' || i) || ' lane ' || i, jsonb_build_object('by', pick(i, 'post', 'bike'), 'parcel', 'JD0146' || 100000000000 + i * 977),
       time '06:00' + i * interval '3 minutes', i * interval '1 hour 7 minutes'
  from generate_series(1, 120) i;
select setval('orders_id_seq', 1000);
create index orders_by_customer on orders (customer);

create table items (
    order_id  int references orders,
    line      int,
    product   int not null references products,
    quantity  int not null,
    price     numeric(10, 2) not null,
    primary key (order_id, line)
);
insert into items
select o, l, 1 + (o * 5 + l * 3) % 25, 1 + (o + l) % 4, ((o * 17 + l * 29) % 5000) / 100.0
  from generate_series(1, 120) o, generate_series(1, 1 + o % 3) l;

create table cards (
    id        int primary key,
    customer  int not null references customers,
    pan       text not null,                                        -- labelled
    brand     text not null,
    expires   date not null
);
insert into cards
select i, i, '41111' || digits('c' || i, 11), pick(i, 'visa', 'amex'), date '2027-01-01' + i * 30 from generate_series(1, 30) i;

create table events (
    id       bigint not null,
    at       timestamptz not null,
    kind     text not null,
    customer int,
    ip       inet not null,                                         -- labelled
    payload  jsonb not null,
    line     text not null
) partition by range (at);
create table events_1 partition of events for values from ('2024-01-01') to ('2024-02-01');
create table events_2 partition of events for values from ('2024-02-01') to ('2024-03-01');
create table events_rest partition of events default;
insert into events
select i, timestamptz '2024-01-01+00' + i * interval '17 hours', pick(i, 'view', 'click', 'buy'), 1 + i % 40,
       ('10.' || ('x' || substr(secret('i' || i), 1, 2))::bit(8)::int || '.0.' || i)::inet,
       jsonb_build_object('page', '/item/' || i, 'ms', i * 12.5, 'trace', md5('trace' || i)),
       '2024-02-0' || 1 + i % 9 || 'T12:00:' || 10 + i % 50 || '.123Z INFO worker[' || 3000 + i || '] took ' || i || 'ms commit ' || md5('c' || i)
  from generate_series(1, 100) i;

create table persons (id int primary key, name text not null, since date not null);
create table patients (diagnosis text not null, ward int not null) inherits (persons);      -- diagnosis labelled
insert into persons select i, 'Person ' || i, date '2020-01-01' + i from generate_series(1, 5) i;
insert into patients select i, 'Person ' || i, date '2020-01-01' + i, secret('d' || i), i % 3 from generate_series(6, 12) i;

create table documents (
    id        int primary key,
    title     text not null,
    body      text not null,                                        -- labelled
    scan      bytea not null,                                       -- labelled
    pages     int not null,
    digest    bytea not null,
    seen      tstzrange,
    spot      point,
    bits      bit(8),
    net       cidr,
    price     money
);
insert into documents
select i, 'Report ' || i || ' (v' || i % 3 || '.' || i % 7 || ')', secret('o' || i) || secret('oo' || i), decode(secret('n' || i), 'hex'), i * 3,
       decode(md5('doc' || i), 'hex'), tstzrange('2024-01-01+00', timestamptz '2024-01-01+00' + i * interval '1 day'), point(i, i * 0.5),
       (i % 256)::bit(8), ('192.168.' || i || '.0/24')::cidr, (i * 1.25)::numeric::money
  from generate_series(1, 12) i;

create table measures (day date, sensor int, value double precision, raw numeric, n bigint, primary key (day, sensor));
insert into measures
select date '2024-03-01' + d, s, sin(d + s) * 100, (d * 1000003 + s)::numeric / 7, d * 4000000000 + s
  from generate_series(0, 9) d, generate_series(1, 3) s;

create view customer_public as select id, name, country, tier, score, signup from customers;
create view customer_contact as select id, name, email, phone, country from customers;
create view order_summary as
    select o.id, o.number, o.state, o.placed, c.name as customer, c.country, count(i.*) as lines, sum(i.quantity * i.price) as worth
      from orders o join customers c on c.id = o.customer left join items i on i.order_id = o.id
     group by o.id, c.id;
create view order_delivery as select s.*, o.address from order_summary s join orders o using (id);
create view revenue as
    select date_trunc('month', placed) as month, state, count(*) as orders, sum(total) as total from orders group by 1, 2;
create view card_brands as select brand, count(*) as n, max(expires) as latest from cards group by brand;
create view staff as
    with recursive chain as (
        select id, name, manager, 0 as depth from employees where manager is null
        union all select e.id, e.name, e.manager, c.depth + 1 from employees e join chain c on e.manager = c.id)
    select chain.*, e.salary from chain join employees e using (id);
create materialized view product_sales as
    select p.id, p.name, p.sku, coalesce(sum(i.quantity), 0) as sold, coalesce(sum(i.quantity * i.price), 0) as worth
      from products p left join items i on i.product = p.id group by p.id;
create materialized view customer_totals as
    select c.id, c.email, c.country, count(o.id) as orders, sum(o.total) as total
      from customers c left join orders o on o.customer = c.id group by c.id;

create function vat(amount numeric, rate numeric default 0.19) returns numeric language sql immutable
    as 'select round(amount * rate, 2)';
create function order_lines(wanted int) returns table (line int, name text, quantity int) language sql stable
    as 'select i.line, p.name, i.quantity from items i join products p on p.id = i.product where i.order_id = wanted';
create function mail_of(wanted int) returns text language sql stable as 'select email from customers where id = wanted';
create function weekday(d timestamptz) returns text language plpgsql immutable
    as $$begin return to_char(d at time zone 'UTC', 'Dy'); end$$;
drop function pick, digits, secret, ean;
analyze;
