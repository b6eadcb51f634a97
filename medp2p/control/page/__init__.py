"""The status page on 127.0.0.1: its shell and files, how it is opened, and who may use it."""
