"""`-o go-template=…`: what Go's text/template makes of objects, as far as users of kubectl go. Pure.

* `scanning` cuts a template into texts and the words of its actions; `parsing` makes a `tree` of them; `execution`
  walks it over a value; `functions` are what actions may call, and `formatting` is Go's fmt.
* Values have Go's types, as they show in texts and errors: whole numbers of objects are int64, those of templates int.
* Of Go's own, `call` is missing: no object has a function. `exists` and `base64decode` are kubectl's additions.
* Errors are text/template's, with the place and the node that it names.
"""
