package e2e

import (
	"testing"
	"time"

	"github.com/curfewhq/curfew/internal/fault"
)

// shows says which bugs of package fault show between processes on one machine,
// and what finds them here. The others need clocks that differ, a machine that
// loses power, or a pause within a microsecond; docs/testing.md says what finds
// those.
var shows = map[fault.Bug]func(t *testing.T, env string) (wrong []string){
	fault.AckBeforeApply:     inHistories,
	fault.GrantWithoutMissed: inHistories,
	fault.DenyByTokenText:    inHistories,
	fault.RowCountUnchecked:  inHistories,
	fault.LeaseFromReceipt:   inLateGrants,
	fault.NoWaitAfterRestart: inDeaths,
}

// TestTheSuiteBites switches on seeded bugs, one by one, and demands that they
// are found.
func TestTheSuiteBites(t *testing.T) {
	t.Parallel()
	for _, bug := range fault.Bugs() {
		find := shows[bug]
		if find == nil {
			continue
		}
		t.Run(string(bug), func(t *testing.T) {
			t.Parallel()
			wrong := find(t, "CURFEW_FAULT_BUG="+string(bug))
			if len(wrong) == 0 {
				t.Fatal("nothing was found")
			}
			t.Logf("found: %s", wrong[0])
		})
	}
}

func inHistories(t *testing.T, env string) []string {
	cfg := roundOf(*flagSeed, havePython(t))
	cfg.Fault, cfg.Env, cfg.early, cfg.traffic = true, []string{env}, true, time.Minute
	cfg.artifacts = t.TempDir()
	_, wrong := playRound(t, cfg)
	return wrong
}

func inLateGrants(t *testing.T, env string) []string {
	l := newLateGrants(t, env)
	for range 5 {
		if wrong := l.round(); len(wrong) > 0 {
			return wrong
		}
	}
	return nil
}

func inDeaths(t *testing.T, env string) []string {
	d := newDeaths(t, fault.AfterCommit, 0, env)
	d.round()
	return d.found
}
