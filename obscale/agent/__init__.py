"""The obshell client: sealed requests in, typed answers out."""
