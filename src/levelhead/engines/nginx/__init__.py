"""nginx: its configuration read to a picture of pools and of the sites that use them."""
