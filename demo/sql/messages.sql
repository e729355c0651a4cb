select messages.id, user_id, name, body, messages.created_at
from messages join users on users.id = user_id
where project_id = $1
order by messages.created_at desc, messages.id
limit 50
