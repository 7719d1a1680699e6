package feed

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"maps"

	"github.com/curfewhq/curfew"
)

// Base is where a log that is loaded begins.
type Base struct {
	Log     string
	Seq     curfew.Seq // the last position that is not kept
	Hash    curfew.Hash
	Horizon int64 // seconds since 1970
	// Everything and Clients are floors: what was issued before is dead.
	Everything curfew.Seq
	Clients    map[string]curfew.Seq
}

const segmentEntries = 4096

// tail is what a hub keeps of the log: the last entries as they go over the
// wire, the older ones compressed, ready to be sent as they are. A snapshot
// thus costs neither a read of the store nor a compression, however many
// verifiers start at once.
type tail struct {
	segments []segment
	// The window: the lines of the entries first, first+1, … and where each
	// line begins. lines only grows, so parts of it can be sent while it does.
	first  curfew.Seq
	lines  []byte
	starts []int
	hashes []curfew.Hash // of the same entries
	maxExp []int64
	floors Base // raised by each entry
}

// segment is a run of entries as one gzip member.
type segment struct {
	first, last curfew.Seq
	maxExp      int64
	gz          []byte
}

func newTail(b Base) *tail {
	b.Clients = maps.Clone(b.Clients)
	if b.Clients == nil {
		b.Clients = map[string]curfew.Seq{}
	}
	return &tail{first: b.Seq + 1, floors: b}
}

// next is the position that comes next.
func (t *tail) next() curfew.Seq { return t.first + curfew.Seq(len(t.starts)) }

func (t *tail) add(r *curfew.Revocation) {
	t.starts = append(t.starts, len(t.lines))
	t.lines = appendLine(t.lines, r)
	t.hashes = append(t.hashes, r.Hash)
	t.maxExp = append(t.maxExp, expirySeconds(r.ExpiresAt))
	if r.Issuer != "" {
		return
	}
	switch r.Kind {
	case curfew.KindClient:
		t.floors.Clients[r.Target] = max(t.floors.Clients[r.Target], r.Seq)
	case curfew.KindEverything:
		t.floors.Everything = max(t.floors.Everything, r.Seq)
	}
}

// hashAt returns the hash of the entry at seq, if it is known.
func (t *tail) hashAt(seq curfew.Seq) (curfew.Hash, bool) {
	if i := int(seq - t.first); i >= 0 && i < len(t.hashes) {
		return t.hashes[i], true
	}
	if seq == t.floors.Seq && t.first == seq+1 {
		return t.floors.Hash, seq == 0 || t.floors.Hash != (curfew.Hash{})
	}
	return curfew.Hash{}, false
}

// after returns the lines of the entries after seq. The second result is false
// if they are not in the window.
func (t *tail) after(seq curfew.Seq) ([]byte, bool) {
	i := int(seq + 1 - t.first)
	switch {
	case i < 0 || i > len(t.starts):
		return nil, false
	case i == len(t.starts):
		return nil, true
	}
	return t.lines[t.starts[i]:], true
}

// compress makes a segment of the oldest entries if the window is large. The
// caller holds no lock that others wait for: only whoever adds calls it.
func (t *tail) compress() (segment, bool) {
	if len(t.starts) < 3*segmentEntries {
		return segment{}, false
	}
	s := segment{first: t.first, last: t.first + segmentEntries - 1}
	for _, exp := range t.maxExp[:segmentEntries] {
		if exp == 0 {
			exp = 1<<63 - 1
		}
		s.maxExp = max(s.maxExp, exp)
	}
	s.gz = compressed(t.lines[:t.starts[segmentEntries]])
	return s, true
}

// take replaces the oldest entries of the window by their segment.
func (t *tail) take(s segment) {
	n := segmentEntries
	cut := t.starts[n]
	t.segments = append(t.segments, s)
	t.lines = bytes.Clone(t.lines[cut:])
	starts := make([]int, 0, 4*segmentEntries)
	for _, at := range t.starts[n:] {
		starts = append(starts, at-cut)
	}
	t.starts = starts
	t.hashes = append(make([]curfew.Hash, 0, 4*segmentEntries), t.hashes[n:]...)
	t.maxExp = append(make([]int64, 0, 4*segmentEntries), t.maxExp[n:]...)
	t.first += curfew.Seq(n)
}

// forget drops the segments of which nothing is needed any more.
func (t *tail) forget(horizon int64) {
	t.floors.Horizon = max(t.floors.Horizon, horizon)
	n := 0
	for n < len(t.segments) && t.segments[n].maxExp <= horizon {
		n++
	}
	t.segments = append([]segment(nil), t.segments[n:]...)
}

// Snapshot is everything that a verifier starts from, as it was at one moment.
type Snapshot struct {
	header   SnapshotHeader
	segments []segment
	lines    []byte
}

func (t *tail) snapshot() *Snapshot {
	s := &Snapshot{
		header: SnapshotHeader{
			Log: t.floors.Log, Seq: t.next() - 1, Horizon: t.floors.Horizon,
			Everything: t.floors.Everything, Clients: maps.Clone(t.floors.Clients),
			Entries: int64(len(t.starts)),
		},
		segments: t.segments, lines: t.lines,
	}
	for _, seg := range t.segments {
		s.header.Entries += int64(seg.last - seg.first + 1)
	}
	return s
}

// WriteTo writes the snapshot as text.
func (s *Snapshot) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(s.firstLine())
	total := int64(n)
	for _, seg := range s.segments {
		if err != nil {
			return total, err
		}
		z, zerr := gzip.NewReader(bytes.NewReader(seg.gz))
		if zerr != nil {
			return total, zerr
		}
		var m int64
		m, err = io.Copy(w, z)
		total += m
	}
	if err != nil {
		return total, err
	}
	n, err = w.Write(s.lines)
	return total + int64(n), err
}

// WriteGzip writes the snapshot compressed, in several gzip members.
func (s *Snapshot) WriteGzip(w io.Writer) error {
	if _, err := w.Write(compressed(s.firstLine())); err != nil {
		return err
	}
	for _, seg := range s.segments {
		if _, err := w.Write(seg.gz); err != nil {
			return err
		}
	}
	if len(s.lines) == 0 {
		return nil
	}
	_, err := w.Write(compressed(s.lines))
	return err
}

func (s *Snapshot) firstLine() []byte {
	b, err := json.Marshal(s.header)
	if err != nil {
		panic(err) // numbers, texts, and a key set that was marshalled before
	}
	return append(b, '\n')
}

func compressed(text []byte) []byte {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is valid
	}
	z.Write(text) // a Buffer takes everything
	z.Close()
	return bytes.Clone(b.Bytes())
}
