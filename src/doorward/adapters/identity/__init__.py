"""Who is asking, as an OpenID Connect issuer says.

settings     what an operator says about one issuer
oidc         the Authenticator: a token in, an Identity out
jwt          a token taken apart, its signature and its claims checked
keys         an issuer's public keys: found, kept, rotated
claims       verified claims to an Identity: kind, groups, delegation
documents    one JSON document from an issuer, within bounds
device       getting a token: device flow and client credentials
development  an issuer for the demo, on loopback only
"""
