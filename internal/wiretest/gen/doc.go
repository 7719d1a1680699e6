// Command gen writes the vectors. It is run by go generate in
// internal/wiretest and gives the same files every time: keys come from their
// names, signatures are deterministic, and no clock is read.
//
// The dialogues are in the files named after what they are about. Nothing else
// belongs here; what a vector means is in ../README.md.
package main
