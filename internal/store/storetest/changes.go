package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/store"
)

var changeTests = map[string]func(*testing.T, *harness){
	"EmptyChangeDoesNothing":           emptyChangeDoesNothing,
	"ChangeThatFailsLeavesNothing":     changeThatFailsLeavesNothing,
	"UserIsWrittenOnItsVersionOnly":    userIsWrittenOnItsVersionOnly,
	"LoginNamesAreUnique":              loginNamesAreUnique,
	"IDsAreNeverOverwritten":           idsAreNeverOverwritten,
	"KeyIsWrittenOnItsVersionOnly":     keyIsWrittenOnItsVersionOnly,
	"RequiredUserMustBeUnchanged":      requiredUserMustBeUnchanged,
	"CommitsAreThereAfterReopening":    commitsAreThereAfterReopening,
	"HighWaterMarksNeverFall":          highWaterMarksNeverFall,
	"CancelledBeforeHandOverIsNothing": cancelledBeforeHandOverIsNothing,
	"ClosedStoreIsUnavailable":         closedStoreIsUnavailable,
	"NewLogIDContinuesTheChain":        newLogIDContinuesTheChain,
	"PurgeDeletesWhatEndedOnly":        purgeDeletesWhatEndedOnly,
}

func emptyChangeDoesNothing(t *testing.T, h *harness) {
	h.begin("u", "s")
	before := h.contents()
	out := h.commit(store.Change{})
	same(t, "contents", h.contents(), before)
	same(t, "Committed", out, store.Committed{Head: before.State.Head})
}

// populate fills every table.
func populate(h *harness) {
	h.begin("u", "s1", "s2")
	h.begin("v", "s3")
	h.commit(store.Change{
		At:          at(0),
		InsertKeys:  []store.Key{{ID: "k", Alg: "ES256", Use: "sig", Status: store.KeyActive, CreatedAt: at(0), ChangedAt: at(0)}},
		Revocations: []curfew.Revocation{revoke(curfew.KindClient, "app")},
		InsertAPIKeys: []store.APIKey{
			{Name: "a", Kind: "operator", Hash: []byte("a"), CreatedAt: at(0)},
			{Name: "b", Kind: "operator", Hash: []byte("b"), CreatedAt: at(0)},
		},
		Audit: []audit.Entry{{At: at(0), Event: audit.KeyCreated, Actor: "system"}},
	})
}

// everythingAtOnce is a change that does all that a change can do.
func everythingAtOnce(h *harness) store.Change {
	u, s := h.user("v"), h.sess("s3")
	u.Name = "changed"
	s.EndedAt, s.EndReason = at(2), curfew.ReasonAdmin
	key := must(h.Keys(h.ctx))(h.t)[0]
	key.Status = store.KeyRetained
	return store.Change{
		At:             at(50),
		RequireUsers:   []store.UserVersion{{ID: "u", Version: h.user("u").Version}},
		InsertUsers:    []store.User{aUser("w")},
		UpdateUsers:    []store.UserUpdate{{User: u, RaiseEpoch: true}},
		InsertSessions: []curfew.Session{aSession("s4", "w")},
		UpdateSessions: []store.SessionUpdate{{Session: s}},
		EndSubjects:    []store.EndSubject{{Subject: "u", Except: "s2", Reason: curfew.ReasonUserOthers}},
		Touch:          []store.Touch{{Session: "s2", SeenAt: at(40)}},
		InsertKeys:     []store.Key{{ID: "k2", Use: "sig", Status: store.KeyAnnounced, CreatedAt: at(1), ChangedAt: at(1)}},
		UpdateKeys:     []store.Key{key},
		InsertAPIKeys:  []store.APIKey{{Name: "c", Hash: []byte("c"), CreatedAt: at(1)}},
		DeleteAPIKeys:  []string{"a"},
		Revocations: []curfew.Revocation{
			revoke(curfew.KindSubject, "u"), revoke(curfew.KindClient, "app"), revoke(curfew.KindClient, "web"), revoke(curfew.KindEverything, ""),
		},
		Audit:     []audit.Entry{{At: at(2), Event: audit.SessionLogout, Actor: "system", Count: store.CountEnded}},
		TokenLife: time.Hour,
		NewLogID:  curfew.NewID(),
	}
}

func changeThatFailsLeavesNothing(t *testing.T, h *harness) {
	populate(h)
	for _, test := range []struct {
		name  string
		spoil func(*store.Change)
		want  error
	}{
		{"RequireUsers", func(c *store.Change) { c.RequireUsers[0].Version++ }, store.ErrConflict},
		{"InsertUsers", func(c *store.Change) { c.InsertUsers = append(c.InsertUsers, aUser("u")) }, store.ErrExists},
		{"UpdateUsers", func(c *store.Change) { c.UpdateUsers[0].Version++ }, store.ErrConflict},
		{"InsertSessions", func(c *store.Change) { c.InsertSessions = append(c.InsertSessions, aSession("s1", "u")) }, store.ErrExists},
		{"UpdateSessions", func(c *store.Change) {
			c.UpdateSessions = append(c.UpdateSessions, store.SessionUpdate{Session: aSession("none", "u")})
		}, store.ErrConflict},
		{"InsertKeys", func(c *store.Change) { c.InsertKeys[0].ID = "k" }, store.ErrExists},
		{"UpdateKeys", func(c *store.Change) { c.UpdateKeys[0].Version++ }, store.ErrConflict},
		{"InsertAPIKeys", func(c *store.Change) { c.InsertAPIKeys[0].Name = "b" }, store.ErrExists},
		{"DeleteAPIKeys", func(c *store.Change) { c.DeleteAPIKeys = append(c.DeleteAPIKeys, "none") }, store.ErrNotFound},
	} {
		before := h.contents()
		c := everythingAtOnce(h)
		test.spoil(&c)
		h.refuse(c, test.want)
		same(t, "after a failed part in "+test.name, h.contents(), before)
	}

	c := everythingAtOnce(h)
	out := h.commit(c)
	same(t, "Ended", out.Ended, int64(1))
	got := h.contents()
	same(t, "head", got.State.Head, out.Head)
	same(t, "log id", got.State.Head.LogID, c.NewLogID)
	same(t, "clients", got.State.Clients, map[string]curfew.Seq{"app": 3, "web": 4})
	same(t, "everything", got.State.Everything, curfew.Seq(5))
	same(t, "users", len(got.Users), 3)
	same(t, "live sessions", ids(h.sessions(store.SessionFilter{Live: true})), []string{"s2", "s4"})
	h.reopen()
	same(t, "after reopening", h.contents(), got)
}

func userIsWrittenOnItsVersionOnly(t *testing.T, h *harness) {
	h.begin("u")
	old := h.user("u")
	first := old
	first.Name = "first"
	h.commit(store.Change{UpdateUsers: []store.UserUpdate{{User: first}}})
	second := old
	second.Name = "second"
	h.refuse(store.Change{UpdateUsers: []store.UserUpdate{{User: second}}}, store.ErrConflict)
	h.refuse(store.Change{UpdateUsers: []store.UserUpdate{{User: aUser("none")}}}, store.ErrConflict)
	if u := h.user("u"); u.Name != "first" || u.Version != old.Version+1 {
		t.Errorf("user: %+v", u)
	}
}

func loginNamesAreUnique(t *testing.T, h *harness) {
	u := aUser("u")
	u.UsernameFold = "name"
	h.commit(store.Change{InsertUsers: []store.User{u}})
	for _, other := range []store.User{
		{ID: "v", Status: store.UserActive, EmailFold: u.EmailFold},
		{ID: "v", Status: store.UserActive, UsernameFold: u.UsernameFold},
	} {
		h.refuse(store.Change{InsertUsers: []store.User{other}}, store.ErrExists)
	}
	h.commit(store.Change{InsertUsers: []store.User{{ID: "v", Status: store.UserActive}, {ID: "w", Status: store.UserActive}}})
	v := h.user("v")
	v.EmailFold = u.EmailFold
	h.refuse(store.Change{UpdateUsers: []store.UserUpdate{{User: v}}}, store.ErrExists)

	// A deleted user gives its names back, not its id.
	gone := h.user("u")
	gone.Status, gone.EmailFold, gone.UsernameFold = store.UserDeleted, "", ""
	h.commit(store.Change{UpdateUsers: []store.UserUpdate{{User: gone}}})
	h.commit(store.Change{UpdateUsers: []store.UserUpdate{{User: v}}})
	same(t, "owner of the name", must(h.UserByLogin(h.ctx, u.EmailFold))(t).ID, "v")
	h.refuse(store.Change{InsertUsers: []store.User{{ID: "u", Status: store.UserActive}}}, store.ErrExists)
}

func idsAreNeverOverwritten(t *testing.T, h *harness) {
	populate(h)
	before := h.contents()
	h.refuse(store.Change{InsertUsers: []store.User{{ID: "u", Name: "other", Status: store.UserActive}}}, store.ErrExists)
	h.refuse(store.Change{InsertSessions: []curfew.Session{aSession("s1", "v")}}, store.ErrExists)
	h.refuse(store.Change{InsertSessions: []curfew.Session{aSession("new", "v"), aSession("new", "v")}}, store.ErrExists)
	h.refuse(store.Change{InsertKeys: []store.Key{{ID: "k"}}}, store.ErrExists)
	h.refuse(store.Change{InsertAPIKeys: []store.APIKey{{Name: "a", Hash: []byte("new")}}}, store.ErrExists)
	h.refuse(store.Change{InsertAPIKeys: []store.APIKey{{Name: "new", Hash: []byte("a")}}}, store.ErrExists)
	same(t, "contents", h.contents(), before)
}

func keyIsWrittenOnItsVersionOnly(t *testing.T, h *harness) {
	populate(h)
	old := must(h.Keys(h.ctx))(t)[0]
	k := old
	k.Status = store.KeyRevoked
	h.commit(store.Change{UpdateKeys: []store.Key{k}})
	h.refuse(store.Change{UpdateKeys: []store.Key{old}}, store.ErrConflict)
	h.refuse(store.Change{UpdateKeys: []store.Key{{ID: "none"}}}, store.ErrConflict)
	same(t, "status", must(h.Keys(h.ctx))(t)[0].Status, store.KeyRevoked)
}

func requiredUserMustBeUnchanged(t *testing.T, h *harness) {
	h.begin("u")
	read := h.user("u")
	login := store.Change{
		At: at(1), RequireUsers: []store.UserVersion{{ID: "u", Version: read.Version}},
		InsertSessions: []curfew.Session{aSession("s", "u")},
	}
	logoutAll := endAll("u", "")
	logoutAll.UpdateUsers = []store.UserUpdate{{User: read, RaiseEpoch: true}}
	h.commit(logoutAll)
	h.refuse(login, store.ErrConflict)
	_, err := h.Session(h.ctx, "s")
	wantErr(t, "the session of the late login", err, store.ErrNotFound)
	h.refuse(store.Change{RequireUsers: []store.UserVersion{{ID: "none"}}}, store.ErrConflict)

	login.RequireUsers[0].Version = h.user("u").Version
	h.commit(login)
	same(t, "a condition raises no version", h.user("u").Version, login.RequireUsers[0].Version)
}

func commitsAreThereAfterReopening(t *testing.T, h *harness) {
	populate(h)
	h.commit(everythingAtOnce(h))
	must(h.Compact(h.ctx, at(1)))(t)
	before := h.contents()
	h.reopen()
	same(t, "contents", h.contents(), before)
	h.commit(end(h.sess("s4")))
	same(t, "head", h.state().Head.Seq, before.State.Head.Seq+1)
}

func highWaterMarksNeverFall(t *testing.T, h *harness) {
	h.commit(store.Change{At: odd(10), TokenLife: time.Hour, LeaseLife: 3 * time.Second})
	for range 2 {
		h.commit(store.Change{At: at(5), TokenLife: time.Minute, LeaseLife: time.Second})
		h.commit(store.Change{})
		st := h.state()
		same(t, "TimeHighWater", st.TimeHighWater, at(10))
		same(t, "TokenLife", st.TokenLife, time.Hour)
		same(t, "LeaseLife", st.LeaseLife, 3*time.Second)
		h.reopen()
	}
	h.commit(store.Change{At: at(11), TokenLife: 2 * time.Hour})
	same(t, "TimeHighWater", h.state().TimeHighWater, at(11))
	same(t, "TokenLife", h.state().TokenLife, 2*time.Hour)
}

func cancelledBeforeHandOverIsNothing(t *testing.T, h *harness) {
	h.begin("u", "s")
	before := h.contents()
	ctx, cancel := context.WithCancel(h.ctx)
	cancel()
	_, err := h.Commit(ctx, end(h.sess("s")))
	wantErr(t, "Commit", err, context.Canceled)
	same(t, "contents", h.contents(), before)
}

func closedStoreIsUnavailable(t *testing.T, h *harness) {
	h.begin("u", "s")
	change := end(h.sess("s"))
	for range 2 {
		if err := h.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	_, err := h.Commit(h.ctx, change)
	wantErr(t, "Commit", err, store.ErrUnavailable)
	_, err = h.Compact(h.ctx, at(1))
	wantErr(t, "Compact", err, store.ErrUnavailable)
	_, err = h.Purge(h.ctx, at(1), 1)
	wantErr(t, "Purge", err, store.ErrUnavailable)
	_, err = h.State(h.ctx)
	wantErr(t, "State", err, store.ErrUnavailable)
	_, err = h.Session(h.ctx, "s")
	wantErr(t, "Session", err, store.ErrUnavailable)
	_, _, err = h.Snapshot(h.ctx)
	wantErr(t, "Snapshot", err, store.ErrUnavailable)
	wantErr(t, "Check", h.Check(h.ctx), store.ErrUnavailable)
	h.reopen()
	if h.sess("s").Ended() {
		t.Error("a commit to a closed store was carried out")
	}
}

func newLogIDContinuesTheChain(t *testing.T, h *harness) {
	h.commit(store.Change{Revocations: []curfew.Revocation{revoke(curfew.KindSubject, "u")}})
	before := h.state().Head
	out := h.commit(store.Change{At: at(1), NewLogID: "other", Revocations: []curfew.Revocation{revoke(curfew.KindEverything, "")}})
	same(t, "head", h.state().Head, out.Head)
	if out.Head.LogID != "other" || out.Head.Seq != before.Seq+1 {
		t.Errorf("head %+v after %+v", out.Head, before)
	}
	if _, err := verifyChain(must(h.Revocations(h.ctx, 0, 10))(t), 0, curfew.Hash{}); err != nil {
		t.Error(err)
	}
}

func purgeDeletesWhatEndedOnly(t *testing.T, h *harness) {
	h.begin("u", "live", "early", "late")
	h.begin("v", "v1")
	for id, n := range map[string]int{"early": 10, "late": 20} {
		c := end(h.sess(id))
		c.At, c.UpdateSessions[0].EndedAt = at(n), at(n)
		h.commit(c)
	}
	for id, n := range map[string]int{"u": 10, "v": 20} {
		u := h.user(id)
		u.Status, u.EmailFold, u.UpdatedAt = store.UserDeleted, "", at(n)
		h.commit(store.Change{UpdateUsers: []store.UserUpdate{{User: u}}})
	}
	head := h.state()
	same(t, "nothing to purge", must(h.Purge(h.ctx, at(10), 100))(t), int64(0))
	same(t, "limit of none", must(h.Purge(h.ctx, at(11), 0))(t), int64(0))
	same(t, "first, of the two before", must(h.Purge(h.ctx, at(11), 1))(t), int64(1))
	same(t, "second", must(h.Purge(h.ctx, at(11), 1))(t), int64(1))
	same(t, "none is left", must(h.Purge(h.ctx, at(11), 1))(t), int64(0))
	_, err := h.Session(h.ctx, "early")
	wantErr(t, "purged session", err, store.ErrNotFound)
	_, err = h.User(h.ctx, "u")
	wantErr(t, "purged user", err, store.ErrNotFound)
	same(t, "sessions", ids(h.sessions(store.SessionFilter{})), []string{"late", "live", "v1"})
	same(t, "user deleted later", h.user("v").Status, store.UserDeleted)
	same(t, "state", h.state(), head)
}
