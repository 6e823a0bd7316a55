"""What balancers need of the kernel.

`placing` is a balancer's own place, `nat` the rules there, `returning` the way back by nodes, `isolation` the router's.
Where and to whom balancers send is planned in `plan.balancers`.
"""
