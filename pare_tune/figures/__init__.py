"""The paper's figures for any run: what is drawn, its numbers, and what to see in it.

Cai et al., ICML 2024, figures 1a to 8, https://arxiv.org/abs/2406.09003. Each module computes plain numbers first and
draws them second; `write` puts them together. Importing this package loads nothing heavy.
"""
