"""One connection to RabbitMQ that loses nothing. Knows no JSON, no UUID and no contract."""
