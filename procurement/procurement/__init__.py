"""The reference application: a small public procurement service with what makes a failover hard."""
