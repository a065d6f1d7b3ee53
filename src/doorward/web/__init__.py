"""What the gateway answers over HTTP: health, metrics, and the API behind the command line.

api    the routes; each says which right it asks for
serve  uvicorn in the gateway's own event loop
"""
