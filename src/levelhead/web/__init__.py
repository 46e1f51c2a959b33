"""The API of a running control plane: JSON over HTTP on a Unix socket that only its owner can open.

answers.py   the shapes of what it takes and gives; light, for clients too
app.py       create_app(plane): the routes
serve.py     serve(app, path): on a Unix socket, inside a running asyncio loop
"""
