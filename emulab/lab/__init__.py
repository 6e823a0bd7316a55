"""Who keeps it true: the supervisor of a lab and everything that runs in it.

* `client/`: whoever uses a lab from outside of it: starts one, and talks to it.
* `folders/`: where its files are, and how they are known to be its.
* `supervisor/`: its process, and the loop that keeps the data plane equal to the objects.
* `kubelet/`: pods and their containers. `hosts/`: processes of servers, and what all of them print.
* `engines`: real programs in the place of servers. `offline`: the plan of a lab that is only thought of.
* `oddities`: what looks odd in manifests, for every verb.
* `exchange`: one request by HTTP over a socket of a place.
"""
