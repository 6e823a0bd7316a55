"""What Kubernetes' built-in kinds may say: their structure, as its OpenAPI has it, and the checks that follow from it.

    structure.txt      one line a definition: its fields with their types
    descriptions.txt   one line a definition or field: the first sentence of its description
    table              reads those lines
    typed              checks of values by a definition, over which a kind's module lays what the definition can't say

`scripts/derive-openapi` derives both texts. A definition is called as in OpenAPI, without what all names begin with:
`core.v1.ServicePort`. Its line holds words `FIELD:TYPE`, or `FIELD!:TYPE` where the field is required. A TYPE is the
name of a definition or of a scalar (`typed` lists them), `[TYPE]` for a list or `{TYPE}` for a mapping with any keys.
Suffixes after `;` say how it is merged, as the script explains them.
"""
