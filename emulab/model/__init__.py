"""What an object is, whatever its kind.

objects, collection         an object as it was given, and a set of them (members: in versions)
keys, paths                 what identifies kinds and objects, and where in an object something stands
facts                       what is true of single objects, worked out once for each
selectors, selectortext     what labels select; selectors as they are written on a command line
jsonpath, jsonpathtext      kubectl's templates, and their text
addresses                   IP addresses
families                    everything that is one way in IPv4 and another in IPv6
sources                     files → texts
yaml_scalars, yaml_nodes    text → plain data with line numbers, as kubectl reads YAML
checks                      the words that the schemas of kinds are written in
validation, mergepatch      what becomes of what a schema hasn't; changes as JSON Merge Patch
findings                    the one line in which it is said what is wrong
kubernetes                  which version of Kubernetes is followed
sharing, shortened          equal parts kept once, and long texts cut
"""
