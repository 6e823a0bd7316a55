"""Images of containers: archives that a user loads (`emulab image load`), for the containers of their names.

`archives` finds the images in what somebody has made, `loading` unpacks their layers, once, `store` keeps them in a
folder of the user's, and `held` is what a lab knows of them. `configs` and `platforms` are pure.
"""
