"""Protocols, sans-IO: bytes in, messages and turns out. `conversation` is what every one of them offers the relay.

wire            bytes to messages and back; raises ProtocolError and nothing else
login           both handshakes
conversation    which turn waits for a verdict, and what may be forwarded when

A turn is the unit of admission: what is judged, recorded and forwarded, or refused, as one.
"""
