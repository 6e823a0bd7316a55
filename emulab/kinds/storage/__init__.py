"""storage.k8s.io: how volumes come to be."""
