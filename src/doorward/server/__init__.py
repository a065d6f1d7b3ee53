"""Sockets: where clients come in, where targets are reached, and the one loop that moves bytes between them.

listener    accepts, lets log in, and knows every live session
relay       one client, one target, one conversation
dial        from a target and its credential to a connection that is ready
tls         TLS as bytes in and bytes out, for either role
side, own   the gateway's own statements, over a connection beside the clients'
"""
