"""dnsmasq as a name server of a lab: `conf` writes its configuration, `unable` says what of ours it can't do."""
