select users.id, users.name, 'owner' as role
from projects join users on users.id = owner_id
where projects.id = $1
union all
select users.id, users.name, role
from project_members join users on users.id = user_id
where project_id = $1 and user_id <> (select owner_id from projects where id = $1)
order by name, id
