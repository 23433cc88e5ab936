# The programs of tests/examples, and what CTest expects them to print.
