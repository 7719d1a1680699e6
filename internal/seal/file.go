package seal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// maxFile is more than any key file holds, and little enough to read before
// knowing what it is.
const maxFile = 1024

// LoadOrCreate reads the key file at path, or makes a new key and writes it
// there if there is no such file. The caller makes sure that a missing file
// means a new installation: a new key opens nothing that an old one has sealed.
//
// Of several processes that start at once one makes the key and all use it.
func LoadOrCreate(path string) (Key, error) {
	key, err := Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := create(path, New().encode()); err != nil && !errors.Is(err, fs.ErrExist) {
		return Key{}, fmt.Errorf("creating the master key: %w", err)
	}
	// What is on disk counts, not what this process meant to put there.
	return Load(path)
}

// Load reads the key file at path. It refuses a file that anybody but its owner
// may read or write: who can read it can sign tokens for everybody, and who can
// write it can have new secrets sealed for himself.
func Load(path string) (Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return Key{}, fmt.Errorf("master key: %w", err)
	}
	defer f.Close()
	// Checked on the open file: between a check of the name and opening it,
	// the name could come to mean another file.
	info, err := f.Stat()
	if err != nil {
		return Key{}, fmt.Errorf("master key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return Key{}, fmt.Errorf("master key %s is not a regular file", path)
	}
	// Windows has no such bits; Go reports 0666 for every file there.
	if perm := info.Mode().Perm(); runtime.GOOS != "windows" && perm&0o077 != 0 {
		return Key{}, fmt.Errorf("master key %s has mode %04o and is open to other users; make it private with: chmod 600 %s", path, perm, path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Key{}, fmt.Errorf("master key: %w", err)
	}
	if len(b) > maxFile {
		return Key{}, fmt.Errorf("master key %s is larger than any key file", path)
	}
	key, err := Parse(string(b))
	if err != nil {
		return Key{}, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// create puts content at path unless something is there. The file appears under
// its name only when it is whole and on disk: a crash half-way, or a second
// process that looks at the wrong moment, must not find half a key, which would
// keep the authority from ever starting again.
func create(path string, content []byte) (err error) {
	dir := filepath.Dir(path)
	// CreateTemp opens with O_EXCL and mode 0600.
	tmp, err := os.CreateTemp(dir, ".master-key-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if err := write(tmp, content); err != nil {
		return err
	}
	// A link fails when the name is taken, unlike a rename.
	err = os.Link(tmp.Name(), path)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		// Some file systems have no links. Written in place, the file can be
		// seen half-written, but never replaces another.
		var f *os.File
		if f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
			return err
		}
		if err = write(f, content); err != nil {
			os.Remove(path)
		}
	}
	if err != nil {
		return err
	}
	return syncDir(dir)
}

func write(f *os.File, content []byte) error {
	_, err := f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir makes the new name itself survive a power failure.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be opened for that there
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
