"""The app's server: addresses, access tokens, notebooks."""
