package denylist

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/curfewhq/curfew"
)

const million = 1_000_000

// names is how many different tokens the benchmarks ask about: more than the
// caches of a processor hold.
const names = 1 << 14

// expires is long after every test.
var expires = time.Unix(1795176000, 0).UTC()

// randomID is spelled like curfew.NewID, from a repeatable source.
func randomID(r *rand.Rand) string { return fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64()) }

// fill returns a set with n revoked sessions, and their names.
func fill(n int) (*Set, []string) {
	s, r := New(), rand.New(rand.NewPCG(1, 2))
	ids := make([]string, n)
	for i := range ids {
		ids[i] = randomID(r)
		s.Apply(curfew.Revocation{Seq: curfew.Seq(i + 1), Kind: curfew.KindSession, Target: ids[i], ExpiresAt: expires})
	}
	return s, ids
}

func BenchmarkCheck(b *testing.B) {
	s, ids := fill(million)
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 1000 {
		seq := s.Watermark() + 1
		s.Apply(curfew.Revocation{Seq: seq, Kind: curfew.KindSubject, Target: randomID(r), ExpiresAt: expires})
		s.Apply(curfew.Revocation{Seq: seq + 1, Kind: curfew.KindKey, Target: fmt.Sprint("key", i), ExpiresAt: expires})
	}
	s.Floors(0, map[string]curfew.Seq{"web": 1})
	live, dead := make([]Levels, names), make([]Levels, names)
	for i := range live {
		live[i] = Levels{
			Key: "jZ9rkaDmNnyMRbH4", Client: "web", Subject: randomID(r), Session: randomID(r), Token: randomID(r),
			Ver: s.Watermark(),
		}
		dead[i] = live[i]
		dead[i].Session = ids[r.IntN(len(ids))]
	}
	b.Run("live/hot", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if s.Check(live[i&1023]) != nil {
				b.Fatal("refused")
			}
		}
	})
	b.Run("live", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if s.Check(live[i&(names-1)]) != nil {
				b.Fatal("refused")
			}
		}
	})
	b.Run("revoked", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if s.Check(dead[i&(names-1)]) == nil {
				b.Fatal("accepted")
			}
		}
	})
	b.Run("live/parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				if s.Check(live[i&(names-1)]) != nil {
					b.Error("refused")
				}
			}
		})
	})
}

func BenchmarkApply(b *testing.B) {
	s, r := New(), rand.New(rand.NewPCG(5, 6))
	b.ReportAllocs()
	for seq := curfew.Seq(1); b.Loop(); seq++ {
		s.Apply(curfew.Revocation{Seq: seq, Kind: curfew.KindSession, Target: randomID(r), ExpiresAt: expires})
	}
}

// BenchmarkGrow is the longest that one Apply takes at a million entries.
func BenchmarkGrow(b *testing.B) {
	s, _ := fill(million)
	t := s.tables[kindSession].Load()
	for b.Loop() {
		runtime.KeepAlive(t.rebuild(t.grown(), 0))
	}
}

func BenchmarkForget(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		s, _ := fill(million)
		b.StartTimer()
		if n := s.Forget(expires); n != million {
			b.Fatal(n)
		}
	}
}
