"""Webhooks: events as signed HTTP requests, by the specification Standard Webhooks (standardwebhooks.com)."""
