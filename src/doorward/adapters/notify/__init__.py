"""Channels on which people are told of what waits for them; one way of delivering a file.

webhook     a signed POST to a program of yours (Standard Webhooks)
slack       a message with a button that opens the page
teams       the same as an Adaptive Card, to a workflow of Microsoft Teams
mail        SMTP, with TLS
chat        what those two have in common
https       one POST, bounded: what the first three go through
settings    what a channel is told by the configuration

Each satisfies `guard.notifications.Sender`. Libraries make messages of the form that a vendor wants; none of them opens a
connection, so that limits, certificates and redirects are the same everywhere.
"""
