package storetest

import (
	"testing"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/store"
)

var logTests = map[string]func(*testing.T, *harness){
	"CompactDropsAnExpiredPrefixOnly": compactDropsPrefixOnly,
	"CompactOfEverythingKeepsTheHead": compactOfEverything,
	"HorizonNeverFalls":               horizonNeverFalls,
	"EpochsOutliveCompaction":         epochsOutliveCompaction,
}

// appendExpiring appends one revocation for each second of expiry.
func (h *harness) appendExpiring(kind curfew.Kind, seconds ...int) {
	h.t.Helper()
	var c store.Change
	for _, n := range seconds {
		r := revoke(kind, "x")
		r.ExpiresAt = at(n)
		c.Revocations = append(c.Revocations, r)
	}
	h.commit(c)
}

func compactDropsPrefixOnly(t *testing.T, h *harness) {
	h.appendExpiring(curfew.KindSession, 1, 2, 9, 3, 4)
	all := must(h.Revocations(h.ctx, 0, 10))(t)
	head := h.state().Head

	// Entry 4 has expired, and stays behind entry 3, which has not.
	same(t, "dropped", must(h.Compact(h.ctx, at(3)))(t), int64(2))
	for range 2 {
		st, kept, err := h.Snapshot(h.ctx)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "kept", kept, all[2:])
		same(t, "compacted", st.Compacted, curfew.Seq(2))
		same(t, "horizon", st.Horizon, at(3))
		same(t, "head", st.Head, head)
		for after := range curfew.Seq(2) {
			_, err = h.Revocations(h.ctx, after, 10)
			wantErr(t, "Revocations from before", err, store.ErrCompacted)
			_, err = h.Revocation(h.ctx, after+1)
			wantErr(t, "Revocation from before", err, store.ErrCompacted)
		}
		same(t, "Revocations from there", must(h.Revocations(h.ctx, 2, 10))(t), all[2:])
		same(t, "Revocation from there", must(h.Revocation(h.ctx, 3))(t), all[2])
		h.reopen()
	}
	same(t, "dropped again", must(h.Compact(h.ctx, at(3)))(t), int64(0))
	same(t, "expiry at the horizon is expired", must(h.Compact(h.ctx, at(9)))(t), int64(3))
}

func compactOfEverything(t *testing.T, h *harness) {
	same(t, "dropped of none", must(h.Compact(h.ctx, at(0)))(t), int64(0))
	same(t, "horizon", h.state().Horizon, at(0))
	h.appendExpiring(curfew.KindSession, 1, 2)
	head := h.state().Head
	same(t, "dropped", must(h.Compact(h.ctx, at(5)))(t), int64(2))
	st, kept, err := h.Snapshot(h.ctx)
	if err != nil || len(kept) != 0 {
		t.Errorf("Snapshot: %v, %v", kept, err)
	}
	same(t, "head", st.Head, head)
	same(t, "Revocations after the head", must(h.Revocations(h.ctx, 2, 10))(t), []curfew.Revocation(nil))
	h.reopen()
	h.appendExpiring(curfew.KindSession, 9)
	next := must(h.Revocations(h.ctx, 2, 10))(t)
	if _, err := verifyChain(next, 2, head.Hash); err != nil || len(next) != 1 {
		t.Errorf("after a compaction of everything: %v, %v", next, err)
	}
}

func horizonNeverFalls(t *testing.T, h *harness) {
	h.appendExpiring(curfew.KindSession, 3)
	for _, step := range []struct{ horizon, want int }{{1, 1}, {2, 2}, {1, 2}} {
		same(t, "dropped", must(h.Compact(h.ctx, at(step.horizon)))(t), int64(0))
		same(t, "horizon", h.state().Horizon, at(step.want))
		h.reopen()
		same(t, "horizon after reopening", h.state().Horizon, at(step.want))
	}
}

func epochsOutliveCompaction(t *testing.T, h *harness) {
	h.appendExpiring(curfew.KindEverything, 1)
	h.appendExpiring(curfew.KindClient, 1)
	same(t, "dropped", must(h.Compact(h.ctx, at(2)))(t), int64(2))
	h.reopen()
	st := h.state()
	same(t, "everything", st.Everything, curfew.Seq(1))
	same(t, "clients", st.Clients, map[string]curfew.Seq{"x": 2})
}
