-- Where the attacks on masking happen: one table of confidential values of every kind, and what a database has built
-- around such a table. Made once as a template; the worlds are copies of it that differ only in labelled values.
create schema scrap;
create schema other;
create type mood as enum ('red', 'amber', 'green', 'blue');
create type home as (street text, number bigint);
create domain code_text as text check (value <> '');

create table people (
    id   integer primary key,
    name text not null,
    ssn  text not null unique,
    card varchar(40) not null,
    lone char(30) not null,
    dom  code_text not null,
    pay  numeric(14, 4) not null check (pay > 0),
    code bigint not null,
    rate double precision not null,
    born date not null,
    seen timestamptz not null,
    kind mood not null,
    uid  uuid not null,
    ip   inet not null,
    pin  bytea not null,
    bits varbit not null,
    tags text[] not null,
    home home not null,
    span int8range not null,
    doc  jsonb not null,
    raw  json not null,
    xm   xml,
    word tsvector not null,
    twin text generated always as (ssn || '+') stored
);
create table plain (id integer primary key, note text, n bigint);
create table free (id integer primary key, body text, doc jsonb, raw json, parts text[], xm xml, n bigint);
create table wall (id integer primary key, said text not null check (length(said) < 9), other text unique);
create table child (extra text) inherits (people);
create table split (id integer, ssn text) partition by range (id);
create table split_low partition of split for values from (0) to (100);
create table ruled (id integer);
create sequence counter;

create view v_all as select * from people;
create view v_renamed as select id, ssn as harmless, card as colour from people;
create view v_reversed as select id, reverse(ssn) as a from people;
create view v_agg as select max(ssn) as a, min(code) as b, array_agg(card) as c from people;
create view v_deep as select upper(a) as z from (select a from v_reversed union all select harmless from v_renamed) q;
create view v_whole as select p as whole from people p;
create view v_json as select row_to_json(p) as j from people p;
create materialized view m_all as select * from people;
create materialized view m_made as select id, encode(convert_to(ssn, 'UTF8'), 'base64') as b from people;

create function get_ssn(integer) returns text language sql stable as 'select ssn from people where id = $1';
create function get_all() returns setof people language sql stable as 'select * from people';
create function get_table() returns table (a text, b bigint) language plpgsql stable as
    $$ begin return query select ssn, code from people order by id; end $$;
create function get_json() returns json language sql stable as 'select json_agg(p) from people p';
create function get_out(out x text, out y text) language sql stable as 'select ssn, card from people limit 1';
create function get_cursor(refcursor) returns refcursor language plpgsql as
    $$ begin open $1 for select ssn from people; return $1; end $$;
create function get_dynamic(text) returns setof text language plpgsql as $$ begin return query execute $1; end $$;
create function say(level text) returns integer language plpgsql as $$ declare v text; begin
    select ssn into v from people order by id limit 1;
    if level = 'notice' then raise notice '%', v; elsif level = 'warning' then raise warning '%', v;
    elsif level = 'info' then raise info '%', v; elsif level = 'log' then raise log '%', v;
    elsif level = 'message' then raise exception '%', v;
    elsif level = 'detail' then raise exception using message = 'x', detail = v;
    elsif level = 'hint' then raise exception using message = 'x', hint = v;
    elsif level = 'column' then raise exception using message = 'x', column = v;
    elsif level = 'constraint' then raise exception using message = 'x', constraint = v;
    elsif level = 'datatype' then raise exception using message = 'x', datatype = v;
    elsif level = 'table' then raise exception using message = 'x', table = v;
    elsif level = 'schema' then raise exception using message = 'x', schema = v;
    elsif level = 'state' then raise exception using message = 'x', errcode = 'ZZ' || right((select code from people
        order by id limit 1)::text, 3);
    elsif level = 'assert' then assert false, v; end if;
    return 1; end $$;
create function tell() returns integer language plpgsql as
    $$ begin perform pg_notify('gossip', ssn) from people order by id limit 1; return 1; end $$;
create function rename(setting text) returns integer language plpgsql as
    $$ begin perform set_config(setting, case setting when 'timezone' then '<' || ssn || '>5' else ssn end, false)
        from people order by id limit 1; return 1; end $$;
create function loaded() returns trigger language plpgsql as
    $$ begin raise exception '%', (select ssn from people order by id limit 1); end $$;
create trigger loaded before delete on plain for each row execute function loaded();
create rule peek as on insert to ruled do also select ssn, reverse(card) from people;
create function caught() returns text language plpgsql as $$ declare s text; begin
    perform ssn::integer from people; return ''; exception when others then get stacked diagnostics s = message_text;
    return s; end $$;
create operator ### (leftarg = text, rightarg = text, function = textcat);
create function last_text(text, text) returns text language sql immutable as 'select $2';
create aggregate last_one(text) (sfunc = last_text, stype = text);

-- What a database does of its own accord, with somebody else's values: defaults, checks, triggers.
create function blame() returns boolean language plpgsql as
    $$ begin raise exception '%', (select ssn from people order by id limit 1); end $$;
create table watched (id integer);
insert into watched values (0);
create trigger loaded before insert or update or delete on watched for each row execute function loaded();
create table defaulted (id integer, other boolean default blame());
create table checked (id integer check (blame()));
create function mutter() returns trigger language plpgsql as
    $$ begin raise notice '%', (select ssn from people order by id limit 1); return new; end $$;
create table muttering (id integer);
create trigger mutter before insert on muttering for each row execute function mutter();
