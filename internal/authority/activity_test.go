package authority

import (
	"testing"
	"time"
)

// A session whose activity was on its way into the store looked idle to whoever
// asked meanwhile, and was logged out for it.
func TestActivityCountsWhileItIsStored(t *testing.T) {
	var a activity
	at := time.Unix(1000, 0)
	a.note("s", at)
	if touched := a.take(); len(touched) != 1 || !touched[0].SeenAt.Equal(at) {
		t.Fatalf("taken: %v", touched)
	}
	if got := a.lastSeen("s"); !got.Equal(at) {
		t.Errorf("while it is stored it was last seen at %v", got)
	}
	a.note("s", at.Add(time.Second))
	if got := a.lastSeen("s"); !got.Equal(at.Add(time.Second)) {
		t.Errorf("seen again, it was last seen at %v", got)
	}
	if touched := a.take(); len(touched) != 1 {
		t.Fatalf("taken: %v", touched)
	}
	if touched := a.take(); len(touched) != 0 {
		t.Errorf("stored twice: %v", touched)
	}
	if got := a.lastSeen("s"); !got.IsZero() {
		t.Errorf("it is in the store by now, and still here: %v", got)
	}
	// What could not be stored is given back, and older than what came since.
	a.note("s", at.Add(2*time.Second))
	failed := a.take()
	a.note("s", at.Add(3*time.Second))
	for _, f := range failed {
		a.note(f.Session, f.SeenAt)
	}
	if touched := a.take(); len(touched) != 1 || !touched[0].SeenAt.Equal(at.Add(3*time.Second)) {
		t.Errorf("taken again: %v", touched)
	}
}
