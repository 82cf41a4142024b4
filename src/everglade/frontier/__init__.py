"""Effectiveness against cost: points swept over models and settings, the front they form, and its pictures."""
