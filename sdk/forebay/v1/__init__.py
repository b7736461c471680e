"""The wire, generated from `protos/forebay/v1` by `make proto`."""
