package main

import (
	"os"
	"path/filepath"
	"testing"
)

// The committed files are what the command writes, so that nobody edits one by
// hand and loses it with the next run.
func TestFilesAreCurrent(t *testing.T) {
	files := build()
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Error(err)
		} else if string(got) != want {
			t.Errorf("%s is not what go generate ./internal/wiretest writes", name)
		}
	}
	there, err := filepath.Glob("../vectors/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range there {
		if _, ok := files[filepath.Join("vectors", filepath.Base(name))]; !ok {
			t.Errorf("%s is not made by the generator", name)
		}
	}
}
