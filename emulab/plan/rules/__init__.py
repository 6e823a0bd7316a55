"""From rules to other rules, as texts: nft's commands, the input of iptables-restore, and what makes a trace. Pure."""
