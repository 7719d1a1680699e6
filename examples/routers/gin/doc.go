// Command gin is a service behind a guard, with the router of that name.
package main
