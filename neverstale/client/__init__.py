"""Follows changes from Python: for back-end services that keep caches of their own.

async with Client(url, token=make_token, projects=["7"], cursors=saved) as client:
    async for message in client:
        match message:
            case Event(resource=resource, id=id): cache.drop(resource, id)
            case Reset(project_id=project_id): cache.drop_project(project_id)  # None: all
            case Status(projects=projects): cache.keep_only(projects)
        save(message.cursors)
"""

from neverstale.client.errors import BadRequest, Forbidden, Refused, Unauthorized
from neverstale.client.messages import Action, Cursors, Event, Message, Reset, Status
from neverstale.client.websocket import Client, TokenSource

__all__ = [
    "Action",
    "BadRequest",
    "Client",
    "Cursors",
    "Event",
    "Forbidden",
    "Message",
    "Refused",
    "Reset",
    "Status",
    "TokenSource",
    "Unauthorized",
]
