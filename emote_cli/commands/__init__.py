"""One module per subcommand; each holds a function of the module's name: parse, call the library, print the result."""
