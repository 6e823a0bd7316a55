"""What a container is told: its variables.

`variables`: a container's environment, with `configs`: what ConfigMaps and Secrets hold; `downward`: what its Pod and
its node say; `machine`: what a node has where nobody says it.
"""
