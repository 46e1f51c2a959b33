"""The control plane of one engine.

base.py      the face that the API and the commands are written against
status.py    the picture it shows of itself
picture.py   draws that picture from the loop's state
watch.py     watches levelhead.yaml
shipping.py  reviews a configuration that is to come into force
loop.py      Plane: owns the one State, runs the tick, carries out effects
"""
