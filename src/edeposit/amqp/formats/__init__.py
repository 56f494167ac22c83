"""Small readers of formats that several services share."""
