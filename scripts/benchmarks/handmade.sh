#!/bin/sh
# The path of one Service, built by hand: pod "from" on node1, pod "to" on node2, a switch between the nodes,
# VXLAN with static entries, one DNAT rule and one masquerade rule a node.
#
#   handmade.sh SERVICE_ADDRESS COMMAND…    builds it, runs COMMAND in "to", says "ready", ends with its stdin
#
# To be run in network, mount and PID namespaces of its own. Then: nsenter -t PID -n -m ip netns exec from …
set -eu

SERVICE=$1
shift
mount -t tmpfs none /run
mkdir /run/netns

for name in switch node1 node2 from to; do
    ip netns add $name
    ip -n $name link set lo up
done
ip -n switch link add br0 type bridge
ip -n switch link set br0 up

node() { # number, number of the other, its pod
    ip link add eth0 netns "node$1" address "02:00:00:00:01:0$1" type veth peer name "port$1" netns switch
    ip -n switch link set "port$1" master br0 up
    ip netns exec "node$1" sysctl -qw net.ipv4.ip_forward=1
    ip -n "node$1" -batch - <<END
link set eth0 up
addr add 10.0.0.1$1/24 dev eth0
link add vxlan type vxlan id 1 local 10.0.0.1$1 dev eth0 dstport 8472 nolearning
link set vxlan address 02:00:00:00:02:0$1 mtu 1450 up
addr add 10.244.$1.0/32 dev vxlan
neigh add 10.244.$2.0 dev vxlan lladdr 02:00:00:00:02:0$2 nud permanent
route add 10.244.$2.0/24 via 10.244.$2.0 dev vxlan onlink
END
    bridge -n "node$1" fdb append "02:00:00:00:02:0$2" dev vxlan dst "10.0.0.1$2"
    ip link add pod netns "node$1" mtu 1450 address "02:00:00:00:03:0$1" type veth peer name eth0 mtu 1450 netns "$3"
    ip -n "node$1" link set pod up
    ip -n "node$1" route add "10.244.$1.2" dev pod
    ip -n "$3" -batch - <<END
link set eth0 up
addr add 10.244.$1.2/32 dev eth0
neigh add 169.254.1.1 dev eth0 lladdr 02:00:00:00:03:0$1 nud permanent
route add default via 169.254.1.1 dev eth0 onlink
END
    ip netns exec "node$1" nft -f - <<END
table ip nat {
    chain prerouting {
        type nat hook prerouting priority dstnat;
        ip daddr $SERVICE tcp dport 80 dnat to 10.244.2.2:8080
    }
    chain postrouting {
        type nat hook postrouting priority srcnat;
        oifname eth0 ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade
    }
}
END
}

node 1 2 from
node 2 1 to
ip netns exec to "$@" &
echo ready
cat >/dev/null
