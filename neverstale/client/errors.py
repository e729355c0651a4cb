"""What ends a client for good."""


class Refused(Exception):
    """The gateway refuses the client, and trying again would not help. Its subclasses say why.

    After it nothing is kept fresh any more: drop what is cached.
    """


class Unauthorized(Refused):
    """There is no token that the gateway accepts: a fixed one was refused or has expired, or
    the function that makes tokens returned None.

    That function may raise it too, which means the same as None.
    """


class Forbidden(Refused):
    """The gateway refuses the connection itself, not one of its projects."""


class BadRequest(Refused):
    """The gateway does not understand the handshake: a malformed project id, say."""
