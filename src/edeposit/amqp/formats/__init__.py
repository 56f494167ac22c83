"""Data formats that several services share; knows no AMQP."""
