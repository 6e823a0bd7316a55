"""What was asked: Kubernetes and emulab objects, read from YAML and checked.

`objects` holds an object as it was given; `schema` says which fields are what, `loader` reads YAML with
positions and applies the schema, `crosscheck` warns of names that lead nowhere, and the other modules
are typed views of one family of kinds each (`workloads`, `services`, `ingresses`, `clusters`).
A view is made from an object that has passed the schema, so it never fails.
"""
