package storetest

import (
	"testing"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/store"
)

var sessionTests = map[string]func(*testing.T, *harness){
	"LateWriteDoesNotReviveASession":             lateWriteDoesNotReviveASession,
	"LateWriteDoesNotReviveAfterLogoutAll":       lateWriteDoesNotReviveAfterLogoutAll,
	"InsertDoesNotReviveASession":                insertDoesNotReviveASession,
	"EndedSessionCannotEndAgain":                 endedSessionCannotEndAgain,
	"EndSubjectsEndsLiveSessionsOfTheSubject":    endSubjectsEndsLive,
	"EndedSeqIsTheRevocationThatEndedIt":         endedSeqIsTheRevocation,
	"EndWithoutTimeIsRefused":                    endWithoutTimeIsRefused,
	"SessionBegunInTheChangeThatEndsOthersLives": sessionBegunInTheChangeLives,
	"EpochsAreTheHeadAfterTheChange":             epochsAreTheHead,
	"EpochIsNotRaisedOverARevocation":            epochIsNotRaisedOverARevocation,
	"TouchMovesLiveSessionsForwardOnly":          touchMovesForwardOnly,
	"AuditCountsWhatEndSubjectsEnded":            auditCountsEnded,
}

func lateWriteDoesNotReviveASession(t *testing.T, h *harness) {
	h.begin("u", "s")
	loaded := h.sess("s")
	h.commit(end(h.sess("s")))
	dead := h.sess("s")
	before := h.contents()

	// The request that loaded the session before the logout writes it now, on
	// the version it read and, trying its luck, on every other.
	for v := range dead.Version + 2 {
		late := loaded
		late.Counter, late.Version = 99, v
		h.refuse(store.Change{At: at(2), UpdateSessions: []store.SessionUpdate{{Session: late}}}, store.ErrConflict)
	}
	h.commit(store.Change{At: at(2), Touch: []store.Touch{{Session: "s", SeenAt: at(50)}}})
	same(t, "session", h.sess("s"), dead)
	same(t, "log", h.contents().Revocations, before.Revocations)
	h.reopen()
	same(t, "session after reopening", h.sess("s"), dead)
}

func lateWriteDoesNotReviveAfterLogoutAll(t *testing.T, h *harness) {
	h.begin("u", "s1", "s2")
	loaded := h.sess("s1")
	same(t, "Ended", h.commit(endAll("u", "")).Ended, int64(2))
	dead := h.sess("s1")
	for v := range dead.Version + 2 {
		late := loaded
		late.Counter, late.Version = 99, v
		h.refuse(store.Change{At: at(2), UpdateSessions: []store.SessionUpdate{{Session: late}}}, store.ErrConflict)
	}
	same(t, "session", h.sess("s1"), dead)
}

func insertDoesNotReviveASession(t *testing.T, h *harness) {
	h.begin("u", "live", "dead")
	h.commit(end(h.sess("dead")))
	before := h.contents()
	for _, id := range []string{"live", "dead"} {
		h.refuse(store.Change{At: at(2), InsertSessions: []curfew.Session{aSession(id, "v")}}, store.ErrExists)
	}
	same(t, "contents", h.contents(), before)
}

func endedSessionCannotEndAgain(t *testing.T, h *harness) {
	h.begin("u", "s")
	first := end(h.sess("s"))
	h.commit(first)
	dead := h.sess("s")
	h.refuse(first, store.ErrConflict)
	again := end(dead)
	again.UpdateSessions[0].EndedAt, again.UpdateSessions[0].EndReason = at(9), curfew.ReasonAdmin
	h.refuse(again, store.ErrConflict)
	same(t, "Ended", h.commit(endAll("u", "")).Ended, int64(0))
	same(t, "session", h.sess("s"), dead)
}

func endSubjectsEndsLive(t *testing.T, h *harness) {
	h.begin("u", "s1", "s2", "s3")
	h.begin("v", "v1")
	s := h.sess("s3")
	s.ReauthAt = at(0)
	h.commit(store.Change{UpdateSessions: []store.SessionUpdate{{Session: s}}})
	s3 := h.sess("s3")

	out := h.commit(endAll("u", "s2"))
	same(t, "Ended", out.Ended, int64(2))
	want := s3
	want.EndedAt, want.EndReason, want.EndedSeq, want.ReauthAt = at(1), curfew.ReasonUserAll, out.Head.Seq, time.Time{}
	want.Version++
	same(t, "ended session", h.sess("s3"), want)
	same(t, "live sessions", ids(h.sessions(store.SessionFilter{Live: true})), []string{"s2", "v1"})
	same(t, "Ended of nobody", h.commit(endAll("nobody", "")).Ended, int64(0))
}

func endedSeqIsTheRevocation(t *testing.T, h *harness) {
	h.begin("u", "s1", "s2")
	c := end(h.sess("s1"))
	c.Revocations = append(c.Revocations, revoke(curfew.KindToken, "jti"))
	c.UpdateSessions[0].EndedSeq = 77 // not for the caller to say
	out := h.commit(c)
	same(t, "EndedSeq", h.sess("s1").EndedSeq, out.Head.Seq)

	// A session whose tokens have all expired needs no revocation.
	idle := h.sess("s2")
	idle.EndedAt, idle.EndReason = at(301), curfew.ReasonIdle
	h.commit(store.Change{At: at(301), UpdateSessions: []store.SessionUpdate{{Session: idle}}})
	got := h.sess("s2")
	if !got.Ended() || got.EndedSeq != 0 {
		t.Errorf("session that ended without a revocation: %+v", got)
	}
}

func endWithoutTimeIsRefused(t *testing.T, h *harness) {
	h.begin("u", "s")
	before := h.contents()
	c := endAll("u", "")
	c.At = time.Time{}
	if _, err := h.Commit(h.ctx, c); err == nil {
		t.Error("sessions ended at no time")
	}
	same(t, "contents", h.contents(), before)
}

func sessionBegunInTheChangeLives(t *testing.T, h *harness) {
	h.begin("u", "old")
	c := endAll("u", "")
	c.InsertSessions = []curfew.Session{aSession("new", "u")}
	out := h.commit(c)
	same(t, "Ended", out.Ended, int64(1))
	same(t, "live sessions", ids(h.sessions(store.SessionFilter{Live: true})), []string{"new"})
	same(t, "epoch of the new session", h.sess("new").Epoch, out.Head.Seq)
}

func epochsAreTheHead(t *testing.T, h *harness) {
	h.begin("u", "s1", "s2")
	same(t, "epoch before any revocation", h.sess("s1").Epoch, curfew.Seq(0))
	out := h.commit(store.Change{
		InsertUsers: []store.User{aUser("v")}, InsertSessions: []curfew.Session{aSession("s3", "v")},
		Revocations: []curfew.Revocation{revoke(curfew.KindClient, "app"), revoke(curfew.KindEverything, "")},
	})
	same(t, "head", out.Head.Seq, curfew.Seq(2))
	same(t, "epoch of a new session", h.sess("s3").Epoch, curfew.Seq(2))
	same(t, "epoch of a new user", h.user("v").Epoch, curfew.Seq(2))
	st := h.state()
	same(t, "everything", st.Everything, curfew.Seq(2))
	same(t, "clients", st.Clients, map[string]curfew.Seq{"app": 1})

	same(t, "epochs are kept", h.sess("s1").Epoch, curfew.Seq(0))
	h.commit(store.Change{
		UpdateUsers:    []store.UserUpdate{{User: h.user("u"), RaiseEpoch: true}},
		UpdateSessions: []store.SessionUpdate{{Session: h.sess("s3"), RaiseEpoch: true}, {Session: h.sess("s2")}},
		Revocations:    []curfew.Revocation{revoke(curfew.KindSubject, "u"), revoke(curfew.KindClient, "another")},
	})
	same(t, "raised epoch of the user", h.user("u").Epoch, curfew.Seq(4))
	same(t, "raised epoch of the session", h.sess("s3").Epoch, curfew.Seq(4))
	same(t, "epoch that was not raised", h.sess("s2").Epoch, curfew.Seq(0))
	same(t, "clients", h.state().Clients, map[string]curfew.Seq{"app": 1, "another": 4})

	u, s := h.user("u"), h.sess("s3")
	u.Epoch, s.Epoch = 0, 0
	h.commit(store.Change{UpdateUsers: []store.UserUpdate{{User: u}}, UpdateSessions: []store.SessionUpdate{{Session: s}}})
	same(t, "epoch of the user never falls", h.user("u").Epoch, curfew.Seq(4))
	same(t, "epoch of the session never falls", h.sess("s3").Epoch, curfew.Seq(4))
}

// A session that a revocation of its client or of everything has ended must not
// be lifted over it, or whoever kept it would be logged in again.
func epochIsNotRaisedOverARevocation(t *testing.T, h *harness) {
	for _, kind := range []curfew.Kind{curfew.KindClient, curfew.KindEverything} {
		id := string(kind)
		h.begin("user of "+id, id)
		r := revoke(kind, h.sess(id).ClientID)
		if kind == curfew.KindEverything {
			r.Target = ""
		}
		h.commit(store.Change{Revocations: []curfew.Revocation{r}})
		before := h.contents()
		_, err := h.Commit(h.ctx, store.Change{
			UpdateSessions: []store.SessionUpdate{{Session: h.sess(id), RaiseEpoch: true}},
			Revocations:    []curfew.Revocation{revoke(curfew.KindSubject, "user of "+id)},
		})
		wantErr(t, "raising over a revocation of "+id, err, store.ErrConflict)
		same(t, "contents", h.contents(), before)
	}
}

func touchMovesForwardOnly(t *testing.T, h *harness) {
	h.begin("u", "live", "dead")
	h.commit(end(h.sess("dead")))
	want, dead := h.sess("live"), h.sess("dead")
	for _, step := range []struct{ touch, want int }{{10, 10}, {5, 10}, {10, 10}, {11, 11}} {
		h.commit(store.Change{At: at(60), Touch: []store.Touch{
			{Session: "live", SeenAt: at(step.touch)}, {Session: "dead", SeenAt: at(step.touch)}, {Session: "none", SeenAt: at(step.touch)},
		}})
		want.LastSeenAt = at(step.want)
		same(t, "touched session", h.sess("live"), want)
	}
	same(t, "ended session", h.sess("dead"), dead)
	_, err := h.Session(h.ctx, "none")
	wantErr(t, "absent session", err, store.ErrNotFound)

	// A write of what was read before the touch does not take it back.
	stale := want
	stale.LastSeenAt = at(0)
	h.commit(store.Change{UpdateSessions: []store.SessionUpdate{{Session: stale}}})
	same(t, "LastSeenAt after a write of older data", h.sess("live").LastSeenAt, at(11))
}

func auditCountsEnded(t *testing.T, h *harness) {
	h.begin("u", "s1", "s2", "s3")
	c := endAll("u", "s1")
	c.Audit = append(c.Audit, audit.Entry{At: at(1), Event: audit.UserUpdated, Count: 5})
	out := h.commit(c)
	got := h.audit(store.AuditFilter{Newest: true, Limit: 2})
	same(t, "Count of CountEnded", got[0].Count, int64(2))
	same(t, "Count that was given", got[1].Count, int64(5))
	same(t, "RevSeq", got[0].RevSeq, out.Head.Seq)
	same(t, "Ended", out.Ended, int64(2))

	h.commit(store.Change{At: at(2), Audit: []audit.Entry{{At: at(2), Event: audit.LoginFailed, Count: store.CountEnded}}})
	last := h.audit(store.AuditFilter{Newest: true, Limit: 1})[0]
	if last.Count != 0 || last.RevSeq != 0 {
		t.Errorf("entry of a change that ended and revoked nothing: %+v", last)
	}
}
