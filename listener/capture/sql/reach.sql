-- Continues dependencies.sql; the view is of the expressions over a watched table. $2: that table, and all below it in its
-- tree. $3: the role that owns the trigger functions. $4: whether the expressions look up the watched table itself.
-- Returns the objects whose owners can make the expressions run their code (tables and views, by the types of their
-- columns; functions; operators; types), whether such an owner has the rights of $3 anyway (is_trusted), and the relation
-- if the role $3 reads it.
, watched as (
    select name::regclass::oid as oid from unnest($2::text[]) as name
), relations as (
    select oid, bool_or(is_read) as is_read
      from (select objid as oid, reader is null and (objid not in (select oid from watched) or $4) as is_read
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
