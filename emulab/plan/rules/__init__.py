"""Rules as texts, and from some to others. Pure.

* `meaning`           what a rule is for, said by who plans it
* `rulesets`          nft's commands, and the steps in which much is done
* `iptables_script`   the input of iptables-restore
* `tracing`           rules that have the kernel tell which way a traced request takes
"""
