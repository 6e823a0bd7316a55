"""The library of faults: what can be put into a lab's network, one fault a file and a line in `table`.

* `fault`: what a fault says of itself; `options`: what one can be told with `set`
* `effects`: what it does, as values that name places and no rule; the plan turns them into links and rules
  (`emulab.plan.faults`), and back when the fault is over
* `scene`: what a lab has that a fault can be put at

A fault's effects are functions of the scene alone, so what a fault does is known before it is put in, and again
after a lab's objects have changed.
"""
