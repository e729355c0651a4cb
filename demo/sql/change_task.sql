update tasks set
    title = coalesce($3, title),
    status = coalesce($4, status),
    sprint_id = case
        when $5 then (select id from sprints where id = $6 and project_id = $2)
        else sprint_id
    end
where id = $1 and project_id = $2
returning id, sprint_id, title, status
