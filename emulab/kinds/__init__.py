"""One home for what is true of a kind of object.

    registry                       every kind by its names, one line each; nothing else lists kinds
    kind, definition               what such a line says, and what a kind's module says beside: its DEFINITION
    schema                         what is wrong with one object by itself, whatever kind it says it is of
    openapi                        the structure of Kubernetes' kinds, and checks by it
    core, apps, batch, discovery, networking, emulab
                                   one module a kind, in the folder of its API group
    aside, custom                  homes of all the kinds that are kept and have no effect
    checks, addresses              what schemas have in common
    following                      what of a kind's fields is followed; `document` makes docs/fields.md of it
    cells, fields, ages            what the tables of `get`, and descriptions, are made of
    selectable                     what field selectors may ask for
    lookup                         what warnings ask of all the objects that there are
    underlay                       the networks that are outside every cluster, by family
    installed                      what every lab has without being asked for, by name
    images                         images that emulab serves itself, and by which server

Whoever adds a kind writes its module and its line. A kind that says much has modules beside its own, by what they
hold: NAMEschema, NAMEfields, NAMEtext, NAMEoddities, and NAMEview, its typed view, which is made from an object that
has passed the schema and so never fails. `emulab get` loads the modules of the kinds that it lists, and no views of
that sort: what a dataclass needs takes longer to load than all else that the command does. A small kind's view is a
NamedTuple in the kind's own module.
"""
