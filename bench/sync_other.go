//go:build !linux

package main

import "os"

// datasync does what SQLite's file system does at a commit.
func datasync(f *os.File) error { return f.Sync() }
