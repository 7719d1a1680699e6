// Command curfew is the authority and the tool to operate it.
//
// It owns the command line: flags, what is printed where, exit codes, and the
// HTTP calls that the operator's commands make. It decides nothing about
// sessions; serving is put together in internal/app.
package main
