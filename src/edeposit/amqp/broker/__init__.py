"""Short work at the broker that a caller waits for: schema, messages, parking, status."""
