"""PostgreSQL, protocol 3.0 and 3.2, both legs, without a socket.

turn        one Query, or one Execute with its Parse and Bind
barrier     a statement whose answer changes what later text means; nothing is judged before it is answered
pending     what a forwarded message will be answered with
"""
