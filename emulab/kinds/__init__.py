"""One home for what is true of a kind of object: what it may say, and what it says once it has passed (a view).

    schema, schema_*                                what each kind may say: tables
    workloads, services, ingresses, clusters        typed views of one family of kinds each
    underlay                                        the networks that are outside every cluster, by family
    installed                                       what every lab has without being asked for, by name

A view is made from an object that has passed the schema, so it never fails.
"""
