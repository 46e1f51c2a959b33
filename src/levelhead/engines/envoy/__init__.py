"""Envoy: its configuration read to a picture of clusters and of the routes that use them."""
