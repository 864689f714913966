"""The obshell client: seals requests and reads typed answers."""
