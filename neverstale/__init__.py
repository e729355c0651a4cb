"""Real-time cache invalidation for PostgreSQL apps."""

__version__ = "0.1.0"
