"""The application's clients in a drill: their journeys over HTTP, and what its database says of itself."""

from dcctl.adapters.business.record import PostgresRecord
from dcctl.adapters.business.workload import HttpBusiness

__all__ = ["HttpBusiness", "PostgresRecord"]
