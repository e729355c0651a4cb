update tasks set status = (
    select other from unnest(array['todo', 'doing', 'done']) as other
    where other <> status order by random() limit 1
)
where id = (select id from tasks where project_id = $1 order by random() limit 1)
