"""The daemon: outbox, inbox, peers, and the tree of tasks."""
