//! PID 1 of every node: supervises components, executes commands, serves logs and files
