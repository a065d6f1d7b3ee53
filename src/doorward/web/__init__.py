"""What the gateway answers over HTTP: health, metrics, the API behind the command line, and the pages.

api      the routes; each says which right it asks for
access   who sends a request: a token's bearer, or a browser that is signed in
browser  browsers that are signed in
headers  what every answer tells browsers to forbid
pages    what people see, and where they decide
serve    uvicorn in the gateway's own event loop
targets  the routes that are about targets
"""
