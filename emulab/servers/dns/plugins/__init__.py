"""What CoreDNS does with a question before it looks into zones: a module a plug-in, and the blocks that hold them.

`blocks` are a Corefile's server blocks, `rewriting`, `templates` and `hosts` the plug-ins of these names, `searching`
is `autopath`, `made` what they answer. All of it is pure.
"""
