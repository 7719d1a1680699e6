package main

import (
	"os"
	"syscall"
)

// datasync does what SQLite's file system does at a commit.
func datasync(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }
