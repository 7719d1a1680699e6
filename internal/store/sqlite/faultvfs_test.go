package sqlite_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"
)

var errInjected = errors.New("injected fault")

// mode is what happens at the fault, and after it.
type mode string

const (
	// The operation fails, once; the next ones work again.
	lost    mode = "Lost"    // it had no effect
	applied mode = "Applied" // it had its effect, and was answered with an error all the same
	// A sync fails and the system forgets what it should have written, as Linux
	// does: later syncs succeed without it. The power fails at the end.
	forgotten mode = "Forgotten"
	// Nothing works any more from the operation on.
	killed mode = "Killed"    // every write before has reached the disk
	cut    mode = "PowerCut"  // no write since the last sync of its file has
	torn   mode = "PowerTorn" // some have, in whole or in part, in any order
)

// faultFS is a file system that fails at the n-th write, truncation or sync. It
// knows for each file what is certain to be on the disk, and what is not yet.
type faultFS struct {
	vfs.VFS
	mode mode

	mu      sync.Mutex
	armed   bool
	left    int  // operations before the fault
	hit     bool // the fault has happened
	dead    bool // nothing works any more
	full    bool // no write works, for want of space
	files   map[string]*image
	tearing *rand.Rand
}

// image is a file as the disk has it.
type image struct {
	durable []byte
	pending []func([]byte, int) []byte // writes since the last sync; the int says how much of them happens
	sizes   []int                      // how much there is to happen
}

func newFaultFS(t *testing.T, m mode) (*faultFS, string) {
	fs := &faultFS{VFS: vfs.Find(""), mode: m}
	name := strings.ReplaceAll(t.Name(), "/", "-") + "-" + string(m)
	vfs.Register(name, fs)
	t.Cleanup(func() { vfs.Unregister(name) })
	return fs, name
}

// arm forgets everything and has the fault after n more operations.
func (fs *faultFS) arm(n int) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.armed, fs.left, fs.hit, fs.dead = true, n, false, false
	fs.files = map[string]*image{}
	fs.tearing = rand.New(rand.NewPCG(uint64(n), 1))
}

func (fs *faultFS) setFull(full bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.full = full
}

func (fs *faultFS) wasHit() bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.hit
}

// stop ends the life of the machine, if it is that kind of fault, and has the
// files be what the disk has.
func (fs *faultFS) stop(t *testing.T) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.dead = true
	if fs.mode == lost || fs.mode == applied {
		return
	}
	for path, img := range fs.files {
		data := img.durable
		for i, write := range img.pending {
			switch fs.mode {
			case killed:
				data = write(data, img.sizes[i])
			case torn:
				switch fs.tearing.IntN(3) {
				case 0:
					data = write(data, img.sizes[i])
				case 1:
					data = write(data, fs.tearing.IntN(img.sizes[i]+1))
				}
			}
		}
		if _, err := os.Stat(path); err != nil {
			continue // deleted, after everything in it was elsewhere
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// do carries out an operation of a file, or fails. Pending is how it changes
// the image; a nil pending is a sync.
func (fs *faultFS) do(name string, size int, pending func([]byte, int) []byte, op func() error) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.dead {
		return sqlite3.IOERR
	}
	if fs.full && pending != nil {
		return sqlite3.FULL
	}
	if !fs.armed {
		return op()
	}
	img := fs.files[name]
	fs.left--
	fault := fs.left == 0
	if fault && fs.mode == forgotten && pending != nil {
		fs.left, fault = 1, false // wait for the next sync
	}
	if !fault {
		img.note(size, pending)
		return op()
	}
	fs.hit = true
	kind := sqlite3.IOERR_WRITE
	if pending == nil {
		kind = sqlite3.IOERR_FSYNC
	}
	switch fs.mode {
	case applied:
		img.note(size, pending)
		if err := op(); err != nil {
			return err
		}
	case forgotten:
		img.pending, img.sizes = nil, nil
	case killed, cut, torn:
		fs.dead = true
		if pending != nil {
			img.note(size, pending) // it was under way
		}
	}
	return vfs.SystemError(errInjected, kind)
}

func (img *image) note(size int, pending func([]byte, int) []byte) {
	if pending != nil {
		img.pending, img.sizes = append(img.pending, pending), append(img.sizes, size)
		return
	}
	for i, write := range img.pending {
		img.durable = write(img.durable, img.sizes[i])
	}
	img.pending, img.sizes = nil, nil
}

func (fs *faultFS) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	f, out, err := vfsutil.WrapOpenFilename(fs.VFS, name, flags)
	if err != nil || flags&(vfs.OPEN_MAIN_DB|vfs.OPEN_WAL) == 0 {
		return f, out, err
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.armed && fs.files[name.String()] == nil {
		data, err := os.ReadFile(name.String())
		if err != nil {
			f.Close()
			return nil, out, err
		}
		fs.files[name.String()] = &image{durable: data}
	}
	return &faultFile{File: f, fs: fs, name: name.String()}, out, nil
}

func (fs *faultFS) Delete(name string, syncDir bool) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.dead {
		return sqlite3.IOERR_DELETE
	}
	delete(fs.files, name)
	return fs.VFS.Delete(name, syncDir)
}

type faultFile struct {
	vfs.File
	fs   *faultFS
	name string
}

func (f *faultFile) WriteAt(p []byte, off int64) (n int, err error) {
	data := slices.Clone(p) // the memory is SQLite's
	err = f.fs.do(f.name, len(p), func(file []byte, n int) []byte {
		if n == 0 {
			return file
		}
		if end := int(off) + n; end > len(file) {
			file = append(file, make([]byte, end-len(file))...)
		}
		copy(file[off:], data[:n])
		return file
	}, func() (err error) {
		n, err = f.File.WriteAt(p, off)
		return err
	})
	return n, err
}

func (f *faultFile) Truncate(size int64) error {
	return f.fs.do(f.name, 1, func(file []byte, n int) []byte {
		if n == 0 {
			return file
		}
		return append(file[:min(size, int64(len(file)))], make([]byte, max(0, size-int64(len(file))))...)
	}, func() error { return f.File.Truncate(size) })
}

// Sync notes what is durable and leaves the disk of the machine in peace.
func (f *faultFile) Sync(vfs.SyncFlag) error {
	return f.fs.do(f.name, 0, nil, func() error { return nil })
}

func (f *faultFile) Unwrap() vfs.File               { return f.File }
func (f *faultFile) SharedMemory() vfs.SharedMemory { return vfsutil.WrapSharedMemory(f.File) }
func (f *faultFile) LockState() vfs.LockLevel       { return vfsutil.WrapLockState(f.File) }
func (f *faultFile) HasMoved() (bool, error)        { return vfsutil.WrapHasMoved(f.File) }
