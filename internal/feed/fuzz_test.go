package feed

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/denylist"
)

// Whatever can be in a revocation comes out of a line as it went in.
func FuzzLine(f *testing.F) {
	f.Add(int64(1), "session", "8f3a", int64(1795177201), "", "user")
	f.Add(int64(42), "subject", "-", int64(0), "-", "-")
	f.Add(int64(1<<62), "everything", "", int64(1), "https://id.example.com/ä ö\n%2D", "")
	f.Add(int64(7), "device", "a\x00b\xff%zz+%20 ~!", int64(1<<40), "\r\n", "x y")
	f.Fuzz(func(t *testing.T, seq int64, kind, target string, expires int64, issuer, reason string) {
		in := curfew.Revocation{
			Seq: curfew.Seq(seq), Kind: curfew.Kind(kind), Target: target, Issuer: issuer, Reason: curfew.Reason(reason),
		}
		if expires != 0 {
			in.ExpiresAt = time.Unix(expires, 0)
		}
		line := string(appendLine(nil, &in))
		if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") || strings.Count(line, " ") != 5 {
			t.Fatalf("%q is not one line of six fields", line)
		}
		out, rest, err := parseLine(line + "rest")
		wrong := seq < 1 || expires < 0 || in.Kind.Valid() && in.Kind != curfew.KindEverything && target == ""
		if wrong {
			if err == nil {
				t.Fatalf("%q was taken as %+v", line, out)
			}
			return
		}
		if err != nil || rest != "rest" {
			t.Fatalf("%q: %v, rest %q", line, err, rest)
		}
		if out != in {
			t.Fatalf("%+v became %+v by %q", in, out, line)
		}
	})
}

// A text that is taken for a line means the same when it is written again.
func FuzzParseLine(f *testing.F) {
	for _, s := range []string{
		"1 session 8f3a 1795177201 - user\n", "1 x - 0 - -\n", "9223372036854775807 token %00%FF 0 %2D %25\n",
		"1 session  0 - -\n", "1 session a 0 - - \n", "0 session a 0 - -\n", "1 session - 0 - -\n", "1 a b 0 c d", "+1 a b -1 c d\n", "1 a %G0 0 c d\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, rest, err := parseLine(text)
		if err != nil {
			return
		}
		if r.Seq < 1 || !strings.HasSuffix(text, rest) || len(text)-len(rest) < minLine {
			t.Fatalf("%q: %+v, rest %q", text, r, rest)
		}
		again, _, err := parseLine(string(appendLine(nil, &r)))
		if err != nil || again != r {
			t.Fatalf("%q: %+v became %+v, %v", text, r, again, err)
		}
	})
}

func FuzzParseGrant(f *testing.F) {
	header := `{"poll":7,"log":"c0ffee","seq":43,"hash":"9a0b","entries":2,"lease_us":3000000,"time_us":1795176600123456,"horizon":1795175000,` +
		`"keys":{"version":"77","issuer":"https://id.example.com","set":{"keys":[]}},"report_seen":true,"later":1}` + "\n"
	lines := "42 session 8f3a 1795177201 - user\n43 subject 1c9d 1795177205 - password_changed\n"
	for _, s := range []string{
		header + lines, header, header + lines + lines, header + lines[:40], "", "\n", "{}\n", "{}\nx", `{"entries":1}` + "\n1 x - 0 - -\n",
		`{"entries":-1}` + "\n", `{"entries":99999999999}` + "\n", `{"seq":5,"entries":0}` + "\n", `{"lease_us":-1}` + "\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		g, entries, err := ParseGrant(body)
		if err != nil {
			if g != nil || entries != nil {
				t.Fatal("a grant and an error")
			}
			return
		}
		if len(entries) != g.Entries || g.LeaseUS < 0 || g.LeaseUS > maxLeaseUS {
			t.Fatalf("%+v with %d entries", g, len(entries))
		}
		for i, e := range entries {
			if want := g.Seq - curfew.Seq(len(entries)-1-i); e.Seq != want {
				t.Fatalf("entry %d has position %d, want %d", i, e.Seq, want)
			}
		}
		// No part of it is a grant with as many entries.
		cut := body[:len(body)-1]
		if h, less, err := ParseGrant(cut); err == nil && len(less) == len(entries) && len(entries) > 0 {
			t.Fatalf("%q without its end is %+v", body, h)
		}
		// Written again it means the same. A hash goes out as it is, so only one
		// that the authority can have.
		for i := range entries {
			g.Lines = appendLine(g.Lines, &entries[i])
		}
		g.Hash = strings.Repeat("0", len(g.Hash))
		if g.Keys != nil && g.Keys.Set == nil {
			g.Keys.Set = []byte("null")
		}
		h, again, err := ParseGrant(g.Append(nil))
		if err != nil || h.Poll != g.Poll || h.Confirm != g.Confirm || h.Log != g.Log || h.Seq != g.Seq || h.Entries != g.Entries ||
			h.LeaseUS != g.LeaseUS || h.TimeUS != g.TimeUS || h.Horizon != g.Horizon || h.ReportSeen != g.ReportSeen || len(again) != len(entries) {
			t.Fatalf("%+v became %+v, %v", g, h, err)
		}
		for i := range again {
			if again[i] != entries[i] {
				t.Fatalf("%+v became %+v", entries[i], again[i])
			}
		}
	})
}

// fuzzSnapshot returns a snapshot as a hub writes it, with n entries.
func fuzzSnapshot(n int) *Snapshot {
	t := newTail(Base{Log: "c0ffee", Seq: 40, Horizon: 1795175000, Everything: 17, Clients: map[string]curfew.Seq{"web": 12}})
	for i := range n {
		t.add(&curfew.Revocation{Seq: curfew.Seq(41 + i), Kind: curfew.KindSession, Target: "s", ExpiresAt: time.Unix(1795177201, 0), Reason: curfew.ReasonUser})
	}
	return t.snapshot()
}

func FuzzReadSnapshot(f *testing.F) {
	for _, n := range []int{0, 1, 3} {
		var b bytes.Buffer
		if _, err := fuzzSnapshot(n).WriteTo(&b); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
		f.Add(b.Bytes()[:b.Len()-1])
		f.Add(append(bytes.Clone(b.Bytes()), '\n'))
	}
	f.Add([]byte(`{"log":"x","seq":1,"entries":2}` + "\n1 x - 0 - -\n2 x - 0 - -\n"))
	f.Add([]byte(`{"log":"x","seq":-1,"entries":0}` + "\n"))
	f.Add([]byte(`{"log":"x","seq":9223372036854775807,"entries":1}` + "\n9223372036854775807 x - 0 - -\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		h, set, err := readSnapshot(bytes.NewReader(body), 1000)
		if err != nil {
			if h != nil || set != nil {
				t.Fatal("a snapshot and an error")
			}
			return
		}
		if h.Log == "" || h.Seq < 0 || h.Entries < 0 || h.Entries > 1000 || set.Watermark() != h.Seq {
			t.Fatalf("%+v, watermark %d", h, set.Watermark())
		}
		if got := bytes.Count(body, []byte("\n")); int64(got) < h.Entries+1 {
			t.Fatalf("%d lines for %d entries", got, h.Entries)
		}
		if _, _, err := readSnapshot(bytes.NewReader(body[:len(body)-1]), 1000); err == nil {
			t.Fatalf("%q is whole without its end", body)
		}
		if set.Check(denylist.Levels{Session: "s", Ver: h.Everything - 1}) == nil && h.Everything > 0 {
			t.Fatal("the floor of everything is lost")
		}
	})
}

// Both forms of a snapshot have the same text.
func TestSnapshotIsTheSameCompressed(t *testing.T) {
	tl := newTail(Base{Log: "l"})
	for i := range 3*segmentEntries + 5 {
		tl.add(&curfew.Revocation{Seq: curfew.Seq(i + 1), Kind: curfew.KindSession, Target: "s"})
	}
	for s, ok := tl.compress(); ok; s, ok = tl.compress() {
		tl.take(s)
	}
	s := tl.snapshot()
	if len(s.segments) == 0 {
		t.Fatal("nothing was compressed")
	}
	var plain, packed bytes.Buffer
	if _, err := s.WriteTo(&plain); err != nil {
		t.Fatal(err)
	}
	if err := s.WriteGzip(&packed); err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(&packed)
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := io.ReadAll(z)
	if err != nil || !bytes.Equal(unpacked, plain.Bytes()) {
		t.Errorf("%d and %d bytes, %v", plain.Len(), len(unpacked), err)
	}
	if h, set, err := readSnapshot(bytes.NewReader(unpacked), 1<<20); err != nil || h.Entries != 3*segmentEntries+5 || set.Watermark() != h.Seq {
		t.Errorf("%+v, %v", h, err)
	}
}

// The window forgets no entry that a token could still need, and the horizon
// says which those are.
func TestForgetKeepsWhatMatters(t *testing.T) {
	tl := newTail(Base{Log: "l"})
	for i := range 5 * segmentEntries {
		e := curfew.Revocation{Seq: curfew.Seq(i + 1), Kind: curfew.KindSession, Target: "s", ExpiresAt: time.Unix(int64(1000+i), 0)}
		if i == segmentEntries+7 {
			e.ExpiresAt = time.Time{} // stays for ever, and everything behind it with it
		}
		tl.add(&e)
	}
	for s, ok := tl.compress(); ok; s, ok = tl.compress() {
		tl.take(s)
	}
	segments := len(tl.segments)
	for _, c := range []struct {
		horizon int64
		keep    int
	}{
		{999, segments}, {1000 + segmentEntries - 2, segments}, {1000 + segmentEntries - 1, segments - 1},
		{1 << 60, segments - 1}, {0, segments - 1},
	} {
		tl.forget(c.horizon)
		if len(tl.segments) != c.keep {
			t.Errorf("horizon %d: %d of %d segments", c.horizon, len(tl.segments), segments)
		}
	}
	if tl.floors.Horizon != 1<<60 {
		t.Errorf("the horizon fell to %d", tl.floors.Horizon)
	}
	s := tl.snapshot()
	if got := s.header.Seq - curfew.Seq(s.header.Entries) + 1; got != segmentEntries+1 {
		t.Errorf("the snapshot begins at %d", got)
	}
}
