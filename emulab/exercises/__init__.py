"""Guided exercises: a lab that is broken, a task, hints, and checks that know by probes whether it is mended.

* `exercise`: one of them, read from its file; `library`: where the files are (`topologies/exercises`)
* `checks`: what is tried in the lab to find out how it is
* `progress`: which exercise a lab is, how it was broken, and how many hints were given

An exercise is one file: a document of kind `Exercise`, and behind it the manifests of its world.
"""
