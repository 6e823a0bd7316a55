"""What an object is, whatever its kind.

objects, collection         an object as it was given, and a set of them
facts                       what is true of single objects, worked out once for each
selectors, addresses        what labels select, and IP addresses
families                    everything that is one way in IPv4 and another in IPv6
sources                     files → texts
yaml_scalars, yaml_nodes    text → plain data with line numbers, as kubectl reads YAML
checks                      the words that the schemas of kinds are written in
findings                    the one line in which it is said what is wrong
kubernetes                  which version of Kubernetes is followed
sharing, shortened          equal parts kept once, and long texts cut
"""
