"""What was asked: Kubernetes and emulab objects, read from YAML and checked.

    yaml_scalars, yaml_nodes    text → plain data with line numbers, as kubectl reads YAML
    checks                      the words that schemas are written in
    schema, schema_*            what each kind may say: tables
    conflicts                   what objects may not say together: errors
    crosscheck                  names that lead nowhere: warnings
    findings                    the one line in which either is said
    sources                     files → texts, before any of these
    loader                      all of these in order: texts → Manifest

`objects` holds an object as it was given, `collection` a set of them, `addresses` reads IP addresses, and the other
modules are typed views of one family of kinds each (`workloads`, `services`, `ingresses`, `clusters`). A view is made
from an object that has passed the schema, so it never fails.
"""
