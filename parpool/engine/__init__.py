"""The process that runs functions and code, in the order in which it gets them."""
