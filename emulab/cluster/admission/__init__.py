"""What comes in: read, checked by itself and together with what is there, and merged into it.

loader       texts → Manifest: objects, or every problem in them
conflicts    what objects may not say together: errors; newcomers: found at a cost that goes with what is new
dumps        what of objects that were saved from a cluster is that cluster's alone; makings: what controllers made
unfollowed   fields that nothing follows: warnings
crosscheck   names that lead nowhere: warnings
merge        what a user's object becomes when one of its name is there, as with `kubectl apply`
patching     what a patch makes of an object's conditions
generatednames   names that are made up of a `generateName`
deletion     what of objects that are to be deleted goes, and what is refused
namespaces   what may not be created in Namespaces, and which may not be deleted
"""
