package audit_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
)

func trail(n int) ([]audit.Entry, audit.Head) {
	var out []audit.Entry
	var head audit.Head
	for i := range n {
		e := audit.Entry{
			Seq: int64(i + 1), At: time.UnixMicro(int64(1_000_000 * i)).UTC(), Event: audit.SessionLogout, Actor: "user:a",
			Subject: "a", Session: "s", ClientID: "c", Reason: curfew.ReasonUser, Count: 1, RevSeq: curfew.Seq(i),
			IP: "192.0.2.1", UserAgent: "agent", Detail: "detail",
		}
		e.Hash = e.Chain(head.Hash)
		head = audit.Head{Seq: e.Seq, Hash: e.Hash}
		out = append(out, e)
	}
	return out, head
}

func verify(entries []audit.Entry, head, anchor audit.Head) error {
	v := audit.NewVerifier(anchor)
	for _, e := range entries {
		if err := v.Add(e); err != nil {
			return err
		}
	}
	return v.End(head)
}

func TestVerifyFindsEveryKindOfTampering(t *testing.T) {
	for name, c := range map[string]struct {
		tamper func([]audit.Entry) []audit.Entry
		want   string
	}{
		"missing":    {func(e []audit.Entry) []audit.Entry { return slices.Delete(e, 3, 4) }, "entry 4 is missing"},
		"re-ordered": {func(e []audit.Entry) []audit.Entry { e[3], e[4] = e[4], e[3]; return e }, "entry 4 is missing"},
		"renumbered": {func(e []audit.Entry) []audit.Entry {
			e = slices.Delete(e, 3, 4)
			for i := range e {
				e[i].Seq = int64(i + 1)
			}
			return e
		}, "entry 4 was changed"},
		"repeated":        {func(e []audit.Entry) []audit.Entry { return slices.Insert(e, 3, e[2]) }, "out of order"},
		"first cut off":   {func(e []audit.Entry) []audit.Entry { return e[1:] }, "entry 1 is missing"},
		"last cut off":    {func(e []audit.Entry) []audit.Entry { return e[:len(e)-1] }, "ends at entry 7"},
		"hash replaced":   {func(e []audit.Entry) []audit.Entry { e[3].Hash[0]++; return e }, "entry 4 was changed"},
		"event changed":   {func(e []audit.Entry) []audit.Entry { e[3].Event = audit.LoginFailed; return e }, "entry 4 was changed"},
		"time changed":    {func(e []audit.Entry) []audit.Entry { e[3].At = e[3].At.Add(time.Microsecond); return e }, "entry 4 was changed"},
		"actor changed":   {func(e []audit.Entry) []audit.Entry { e[3].Actor = "user:b"; return e }, "entry 4 was changed"},
		"subject changed": {func(e []audit.Entry) []audit.Entry { e[3].Subject = "b"; return e }, "entry 4 was changed"},
		"session changed": {func(e []audit.Entry) []audit.Entry { e[3].Session = "t"; return e }, "entry 4 was changed"},
		"client changed":  {func(e []audit.Entry) []audit.Entry { e[3].ClientID = "d"; return e }, "entry 4 was changed"},
		"reason changed":  {func(e []audit.Entry) []audit.Entry { e[3].Reason = curfew.ReasonAdmin; return e }, "entry 4 was changed"},
		"count changed":   {func(e []audit.Entry) []audit.Entry { e[3].Count++; return e }, "entry 4 was changed"},
		"seq changed":     {func(e []audit.Entry) []audit.Entry { e[3].RevSeq++; return e }, "entry 4 was changed"},
		"address changed": {func(e []audit.Entry) []audit.Entry { e[3].IP = "192.0.2.2"; return e }, "entry 4 was changed"},
		"agent changed":   {func(e []audit.Entry) []audit.Entry { e[3].UserAgent = ""; return e }, "entry 4 was changed"},
		"detail changed":  {func(e []audit.Entry) []audit.Entry { e[3].Detail = ""; return e }, "entry 4 was changed"},
		"text moved between fields": {func(e []audit.Entry) []audit.Entry {
			e[3].Subject, e[3].Session = "as", ""
			return e
		}, "entry 4 was changed"},
	} {
		t.Run(name, func(t *testing.T) {
			entries, head := trail(8)
			if err := verify(entries, head, audit.Head{}); err != nil {
				t.Fatalf("before: %v", err)
			}
			err := verify(c.tamper(entries), head, audit.Head{})
			if !errors.Is(err, audit.ErrBroken) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// Whoever can write the whole store can compute a new chain; only an anchor
// that was kept elsewhere finds that.
func TestAnchorFindsATrailThatWasRecomputed(t *testing.T) {
	entries, head := trail(8)
	anchor := audit.Head{Seq: 5, Hash: entries[4].Hash}
	if err := verify(entries, head, anchor); err != nil {
		t.Fatal(err)
	}
	prev := curfew.Hash{}
	for i := range entries {
		if i == 2 {
			entries[i].Actor = "user:innocent"
		}
		entries[i].Hash = entries[i].Chain(prev)
		prev = entries[i].Hash
	}
	head.Hash = prev
	if err := verify(entries, head, audit.Head{}); err != nil {
		t.Fatalf("the recomputed chain is consistent: %v", err)
	}
	if err := verify(entries, head, anchor); !errors.Is(err, audit.ErrBroken) {
		t.Errorf("with the anchor: %v", err)
	}
	if err := verify(entries[:4], audit.Head{Seq: 4, Hash: entries[3].Hash}, anchor); !errors.Is(err, audit.ErrBroken) {
		t.Errorf("cut off before the anchor: %v", err)
	}
}
