-- $1: a view of the expressions over a watched table.  $2: the table, and all below it in its tree.  $3: the role that
-- owns our functions.  $4: whether the expressions look the table itself up, too.
-- -> the objects whose owners can make the expressions run code of theirs (tables and views by the types of their
-- columns, functions, operators, types), and whether the owner has the role's rights anyway; relation: it is looked up.
with recursive watched as (
    select name::regclass::oid as oid from unnest($2::text[]) as name
), reached (classid, objid, is_read) as (
    select d.refclassid, d.refobjid, true
      from pg_rewrite r
      join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
     where r.ev_class = $1::regclass and d.refobjid <> r.ev_class
    union
    -- a view reads with its own owner's rights, unless it is declared to read with its reader's
    select d.refclassid, d.refobjid,
           reached.is_read and coalesce((select option_value::boolean from pg_options_to_table(c.reloptions)
                                     where option_name = 'security_invoker'), false)
      from reached
      join pg_class c on reached.classid = 'pg_class'::regclass and c.oid = reached.objid and c.relkind = 'v'
      join pg_rewrite r on r.ev_class = c.oid
      join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refobjid <> c.oid
), relations as (
    select oid, bool_or(is_read) as is_read
      from (select objid as oid, is_read and (objid not in (select oid from watched) or $4) as is_read
              from reached where classid = 'pg_class'::regclass
            union all
            select oid, false from watched) as every
     group by oid
), objects as (
    select 'pg_class'::regclass as classid, oid as objid, relowner as owner, is_read
      from relations join pg_class using (oid)
    union
    select 'pg_type'::regclass, t.oid, t.typowner, false
      from relations r
      join pg_attribute a on a.attrelid = r.oid and not a.attisdropped
      join pg_type t on t.oid = a.atttypid
    union
    select 'pg_proc'::regclass, p.oid, p.proowner, false
      from reached join pg_proc p on classid = 'pg_proc'::regclass and p.oid = objid
    union
    select 'pg_operator'::regclass, o.oid, o.oprowner, false
      from reached join pg_operator o on classid = 'pg_operator'::regclass and o.oid = objid
)
select named.type || ' ' || named.identity as object,
       owner::regrole::text as owner,
       pg_has_role(owner, $3::name, 'MEMBER') as is_trusted,
       classid = 'pg_class'::regclass and objid in (select oid from watched) as is_watched,
       case when is_read then named.identity end as relation, named.schema
  from objects
  cross join lateral pg_identify_object(classid, objid, 0) as named
 order by 1
