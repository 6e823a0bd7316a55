"""Volumes of Pods: what of a node's file system their containers see.

`podvolumes`: all of one Pod, made (`making`) before its containers start and written anew when what they hold changes;
`mounts`: where a container sees them. `volume`: what a kind of volume is asked and says; `kinds`: the table of kinds,
`emptydir`, `keyed` (ConfigMaps and Secrets), `downwardapi`, `projected`, `hostpath`, `claims` (with `claimfolders`) and
`absent`. `files`: what the kubelet writes into a volume, by `atomicwriter`; `ownership`: whom it belongs to.
"""
