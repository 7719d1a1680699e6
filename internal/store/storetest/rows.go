package storetest

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/audit"
	"github.com/curfewhq/curfew/internal/store"
)

var rowTests = map[string]func(*testing.T, *harness){
	"NewStoreIsEmpty":                 newStoreIsEmpty,
	"AbsentRowsAreNotFound":           absentRowsAreNotFound,
	"UserKeepsEveryField":             userKeepsEveryField,
	"SessionKeepsEveryField":          sessionKeepsEveryField,
	"KeysKeepEveryField":              keysKeepEveryField,
	"LogAndAuditKeepEveryField":       logAndAuditKeepEveryField,
	"UsersAreListedInOrder":           usersAreListedInOrder,
	"SessionsAreFilteredAndInOrder":   sessionsAreFilteredAndInOrder,
	"AuditIsFilteredAndInOrder":       auditIsFilteredAndInOrder,
	"LoginFindsByAddressAndUserName":  loginFindsByAddressAndUserName,
	"ListsWithoutLimitHaveTheDefault": listsWithoutLimitHaveTheDefault,
}

func newStoreIsEmpty(t *testing.T, h *harness) {
	c := h.contents()
	if len(c.Users)+len(c.Sessions)+len(c.Revocations)+len(c.Keys)+len(c.APIKeys) != 0 {
		t.Errorf("a new store has rows: %+v", c)
	}
	if st := c.State; st.Head.Seq != 0 || st.Head.Hash != (curfew.Hash{}) || st.Head.LogID == "" ||
		st.Compacted != 0 || st.Everything != 0 || len(st.Clients) != 0 || st.TokenLife != 0 || st.LeaseLife != 0 || !st.Horizon.IsZero() {
		t.Errorf("state of a new store: %+v", st)
	}
	same(t, "State and Snapshot", h.state(), c.State)
	same(t, "Revocations", must(h.Revocations(h.ctx, 0, 10))(t), []curfew.Revocation(nil))
	same(t, "CountSessions", must(h.CountSessions(h.ctx, store.SessionFilter{}))(t), int64(0))
}

func absentRowsAreNotFound(t *testing.T, h *harness) {
	_, err := h.User(h.ctx, "nobody")
	wantErr(t, "User", err, store.ErrNotFound)
	_, err = h.UserByLogin(h.ctx, "nobody")
	wantErr(t, "UserByLogin", err, store.ErrNotFound)
	_, err = h.Session(h.ctx, "none")
	wantErr(t, "Session", err, store.ErrNotFound)
	for _, seq := range []curfew.Seq{-1, 0, 1} {
		_, err = h.Revocation(h.ctx, seq)
		wantErr(t, fmt.Sprintf("Revocation(%d)", seq), err, store.ErrNotFound)
	}
	h.refuse(store.Change{DeleteAPIKeys: []string{"none"}}, store.ErrNotFound)
	same(t, "Revocations past the head", must(h.Revocations(h.ctx, 99, 10))(t), []curfew.Revocation(nil))
}

// odd is a time that is neither in UTC nor whole in microseconds.
func odd(n int) time.Time {
	return at(n).Add(789 * time.Nanosecond).In(time.FixedZone("Nowhere", -(3*3600 + 1800)))
}

// unicode has no NUL: not every engine can keep one, and the edge refuses it.
const unicode = "Zoë 日本 \U0001f511 'quoted' \"%_\\ e\u0301"

// filled fails the test if a field of v is zero: a field that is added to a row
// must be added to its test.
func filled(t *testing.T, v any, except ...string) {
	t.Helper()
	rv := reflect.ValueOf(v)
	for i := range rv.NumField() {
		if name := rv.Type().Field(i).Name; rv.Field(i).IsZero() && !slices.Contains(except, name) {
			t.Fatalf("the test gives no value to %T.%s", v, name)
		}
	}
}

func userKeepsEveryField(t *testing.T, h *harness) {
	h.commit(store.Change{Revocations: []curfew.Revocation{revoke(curfew.KindSubject, "x")}})
	u := store.User{
		ID: "u1", Email: "Zoë@Example.com", EmailFold: "zoë@example.com", Username: "Zoë", UsernameFold: "zoë",
		Name: unicode, PasswordHash: "$argon2id$v=19$m=1,t=1,p=1$c2FsdA$aGFzaA", Roles: []string{"admin", "billing"},
		Status: store.UserDisabled, MustChange: true, CreatedAt: odd(1), UpdatedAt: odd(2),
	}
	filled(t, u, "Epoch", "Version")
	h.commit(store.Change{InsertUsers: []store.User{u, {ID: "u2", Status: store.UserActive}}})
	want := u
	want.CreatedAt, want.UpdatedAt, want.Epoch, want.Version = at(1), at(2), 1, 1
	same(t, "user", h.user("u1"), want)
	same(t, "user with nothing set", h.user("u2"), store.User{ID: "u2", Status: store.UserActive, Epoch: 1, Version: 1})

	want = store.User{
		ID: "u1", Email: "a@b", EmailFold: "a@b", Username: "U", UsernameFold: "u", Name: "n", PasswordHash: "p",
		Roles: []string{"a", "b"}, Status: store.UserActive, Epoch: 1, CreatedAt: at(1), UpdatedAt: at(3), Version: 1,
	}
	unsorted := want
	unsorted.Roles, unsorted.UpdatedAt = []string{"b", "a"}, odd(3)
	h.commit(store.Change{UpdateUsers: []store.UserUpdate{{User: unsorted}}})
	want.Version = 2
	same(t, "updated user", h.user("u1"), want)
	same(t, "roles of the caller", unsorted.Roles, []string{"b", "a"})
}

func sessionKeepsEveryField(t *testing.T, h *harness) {
	h.commit(store.Change{Revocations: []curfew.Revocation{revoke(curfew.KindSubject, "x")}})
	s := curfew.Session{
		ID: "s1", Subject: "u", ClientID: "web", Scope: "openid profile", CreatedAt: odd(1), AuthTime: odd(2),
		ReauthAt: odd(3), LastSeenAt: odd(4), ExpiresAt: odd(5), Device: unicode, IP: "2001:db8::1",
		UserAgent: "Mozilla/5.0 " + unicode, Counter: 7, RotatedAt: odd(6), TokenExp: odd(7), CookieHash: "c0ffee",
	}
	filled(t, s, "Epoch", "EndedAt", "EndReason", "EndedSeq", "Version")
	h.commit(store.Change{InsertSessions: []curfew.Session{s, {ID: "s2"}}})
	want := s
	want.Epoch, want.Version = 1, 1
	want.CreatedAt, want.AuthTime, want.ReauthAt, want.LastSeenAt = at(1), at(2), at(3), at(4)
	want.ExpiresAt, want.RotatedAt, want.TokenExp = at(5), at(6), at(7)
	same(t, "session", h.sess("s1"), want)
	same(t, "session with nothing set", h.sess("s2"), curfew.Session{ID: "s2", Epoch: 1, Version: 1})

	next := want
	next.Scope, next.AuthTime, next.ReauthAt, next.LastSeenAt = "openid", odd(10), odd(11), odd(12)
	next.Device, next.Counter, next.RotatedAt, next.TokenExp = "d", 8, odd(13), odd(14)
	next.CookieHash = "d0ffee"
	// What the login was cannot be rewritten.
	next.Subject, next.ClientID, next.IP, next.UserAgent = "other", "other", "other", "other"
	next.CreatedAt, next.ExpiresAt = odd(99), odd(99)
	h.commit(store.Change{UpdateSessions: []store.SessionUpdate{{Session: next}}})
	want.Scope, want.AuthTime, want.ReauthAt, want.LastSeenAt = "openid", at(10), at(11), at(12)
	want.Device, want.Counter, want.RotatedAt, want.TokenExp, want.Version = "d", 8, at(13), at(14), 2
	want.CookieHash = "d0ffee"
	same(t, "updated session", h.sess("s1"), want)

	last := want
	last.EndedAt, last.EndReason = odd(9), curfew.ReasonSuspicious
	h.commit(store.Change{
		At: at(9), UpdateSessions: []store.SessionUpdate{{Session: last}},
		Revocations: []curfew.Revocation{revoke(curfew.KindSession, "s1")},
	})
	want.EndedAt, want.EndReason, want.EndedSeq, want.ReauthAt, want.Version = at(9), curfew.ReasonSuspicious, 2, time.Time{}, 3
	same(t, "ended session", h.sess("s1"), want)
}

func keysKeepEveryField(t *testing.T, h *harness) {
	k := store.Key{
		ID: "k2", Alg: "ES256", Use: "sig", Status: store.KeyAnnounced, PublicJWK: []byte(`{"kty":"EC"}`),
		Sealed: []byte{0, 1, 0xff, 0}, CreatedAt: odd(1), ChangedAt: odd(2),
	}
	filled(t, k, "Version")
	a := store.APIKey{Name: unicode, Kind: "verifier", Hash: []byte{0, 0xff, 1}, CreatedAt: odd(3)}
	filled(t, a)
	h.commit(store.Change{
		InsertKeys:    []store.Key{k, {ID: "k1", Use: "refresh"}},
		InsertAPIKeys: []store.APIKey{a, {Name: "A", Hash: []byte("h")}},
	})
	k.CreatedAt, k.ChangedAt, k.Version = at(1), at(2), 1
	a.CreatedAt = at(3)
	same(t, "keys", must(h.Keys(h.ctx))(t), []store.Key{{ID: "k1", Use: "refresh", Version: 1}, k})
	same(t, "API keys", must(h.APIKeys(h.ctx))(t), []store.APIKey{{Name: "A", Hash: []byte("h")}, a})

	k.Status, k.ChangedAt, k.Sealed = store.KeyActive, odd(4), nil
	h.commit(store.Change{UpdateKeys: []store.Key{k}, DeleteAPIKeys: []string{"A"}})
	k.ChangedAt, k.Version = at(4), 2
	same(t, "updated keys", must(h.Keys(h.ctx))(t)[1], k)
	same(t, "API keys that are left", must(h.APIKeys(h.ctx))(t), []store.APIKey{a})
}

func logAndAuditKeepEveryField(t *testing.T, h *harness) {
	r := curfew.Revocation{
		Kind: curfew.KindToken, Target: unicode, Issuer: "https://elsewhere.example", Reason: curfew.ReasonTokenRevoked,
		Actor: "operator:" + unicode, RecordedAt: odd(1), ExpiresAt: odd(2),
	}
	filled(t, r, "Seq", "Hash")
	e := audit.Entry{
		At: odd(1), Event: audit.TokenRevoked, Actor: "operator:x", Subject: "u", Session: "s", ClientID: "web",
		Reason: curfew.ReasonTokenRevoked, Count: 3, IP: "192.0.2.1", UserAgent: unicode, Detail: unicode,
	}
	filled(t, e, "Seq", "RevSeq", "Hash")
	before := h.state()
	out := h.commit(store.Change{
		Revocations: []curfew.Revocation{r, {Kind: curfew.KindEverything}},
		Audit:       []audit.Entry{e, {}},
	})

	r.Seq, r.RecordedAt, r.ExpiresAt = 1, at(1), at(2)
	r.Hash = r.Chain(curfew.Hash{})
	r2 := curfew.Revocation{Seq: 2, Kind: curfew.KindEverything}
	r2.Hash = r2.Chain(r.Hash)
	same(t, "Revocations", must(h.Revocations(h.ctx, 0, 10))(t), []curfew.Revocation{r, r2})
	same(t, "Revocations after 1", must(h.Revocations(h.ctx, 1, 10))(t), []curfew.Revocation{r2})
	same(t, "Revocations up to 1", must(h.Revocations(h.ctx, 0, 1))(t), []curfew.Revocation{r})
	same(t, "Revocation(1)", must(h.Revocation(h.ctx, 1))(t), r)

	e.Seq, e.At, e.RevSeq = before.AuditHead.Seq+1, at(1), 2
	e.Hash = e.Chain(before.AuditHead.Hash)
	e2 := audit.Entry{Seq: e.Seq + 1, RevSeq: 2}
	e2.Hash = e2.Chain(e.Hash)
	same(t, "Audit", h.audit(store.AuditFilter{After: before.AuditHead.Seq}), []audit.Entry{e, e2})

	st := h.state()
	same(t, "head", st.Head, curfew.Position{LogID: before.Head.LogID, Seq: 2, Hash: r2.Hash})
	same(t, "head of the commit", out.Head, st.Head)
	same(t, "audit head", st.AuditHead, audit.Head{Seq: e2.Seq, Hash: e2.Hash})
}

func usersAreListedInOrder(t *testing.T, h *harness) {
	for _, id := range []string{"c", "a", "d", "b"} {
		h.begin(id)
	}
	gone := h.user("c")
	gone.Status, gone.EmailFold, gone.Email = store.UserDeleted, "", ""
	h.commit(store.Change{UpdateUsers: []store.UserUpdate{{User: gone}}})
	list := func(p store.Page) (out []string) {
		for _, u := range must(h.Users(h.ctx, p))(t) {
			out = append(out, u.ID)
		}
		return out
	}
	same(t, "all", list(store.Page{}), []string{"a", "b", "d"})
	same(t, "first two", list(store.Page{Limit: 2}), []string{"a", "b"})
	same(t, "after b", list(store.Page{After: "b", Limit: 2}), []string{"d"})
	same(t, "after the last", list(store.Page{After: "d"}), []string(nil))
	same(t, "status of a deleted user", h.user("c").Status, store.UserDeleted)
}

func sessionsAreFilteredAndInOrder(t *testing.T, h *harness) {
	make := func(id, subject, client, ip string, n int) curfew.Session {
		s := aSession(id, subject)
		s.ClientID, s.IP, s.CreatedAt, s.LastSeenAt, s.ExpiresAt = client, ip, at(n), at(n+10), at(n+20)
		return s
	}
	h.commit(store.Change{InsertSessions: []curfew.Session{
		make("d", "u", "web", "1.1.1.1", 4), make("b", "v", "web", "2.2.2.2", 2), make("a", "u", "app", "2.2.2.2", 1),
	}})
	h.commit(store.Change{
		Revocations:    []curfew.Revocation{revoke(curfew.KindSubject, "x")},
		InsertSessions: []curfew.Session{make("c", "u", "web", "2.2.2.2", 3)},
	})
	h.commit(end(h.sess("d")))
	for _, test := range []struct {
		name string
		f    store.SessionFilter
		want []string
	}{
		{"All", store.SessionFilter{}, []string{"a", "b", "c", "d"}},
		{"Page", store.SessionFilter{Page: store.Page{After: "a", Limit: 2}}, []string{"b", "c"}},
		{"Subject", store.SessionFilter{Subject: "u"}, []string{"a", "c", "d"}},
		{"Client", store.SessionFilter{ClientID: "web"}, []string{"b", "c", "d"}},
		{"IP", store.SessionFilter{IP: "2.2.2.2"}, []string{"a", "b", "c"}},
		{"Live", store.SessionFilter{Live: true}, []string{"a", "b", "c"}},
		{"SeenBefore", store.SessionFilter{SeenBefore: at(13)}, []string{"a", "b"}},
		{"ExpiredAt", store.SessionFilter{ExpiredAt: at(23)}, []string{"a", "b", "c"}},
		{"CreatedBefore", store.SessionFilter{CreatedBefore: at(3)}, []string{"a", "b"}},
		{"EpochBelow", store.SessionFilter{EpochBelow: 1}, []string{"a", "b", "d"}},
		{"Joined", store.SessionFilter{Subject: "u", ClientID: "web", Live: true, IP: "2.2.2.2", EpochBelow: 2}, []string{"c"}},
		{"None", store.SessionFilter{Subject: "nobody"}, nil},
	} {
		same(t, test.name, ids(h.sessions(test.f)), test.want)
		count := len(test.want)
		if test.name == "Page" {
			count = 4
		}
		same(t, "count of "+test.name, must(h.CountSessions(h.ctx, test.f))(t), int64(count))
	}
}

func auditIsFilteredAndInOrder(t *testing.T, h *harness) {
	first := h.state().AuditHead.Seq
	for i := range 6 {
		e := audit.Entry{At: at(i), Event: audit.LoginSucceeded, Actor: "system", Subject: "u", Session: fmt.Sprint("s", i)}
		if i%2 == 1 {
			e.Event, e.Subject = audit.LoginFailed, "v"
		}
		h.commit(store.Change{Audit: []audit.Entry{e}})
	}
	for _, test := range []struct {
		name string
		f    store.AuditFilter
		want []int64
	}{
		{"After", store.AuditFilter{}, []int64{1, 2, 3, 4, 5, 6}},
		{"Limit", store.AuditFilter{Limit: 2}, []int64{1, 2}},
		{"Newest", store.AuditFilter{Limit: 2, Newest: true}, []int64{5, 6}},
		{"Subject", store.AuditFilter{Subject: "u"}, []int64{1, 3, 5}},
		{"NewestOfSubject", store.AuditFilter{Subject: "u", Newest: true, Limit: 2}, []int64{3, 5}},
		{"Session", store.AuditFilter{Session: "s3"}, []int64{4}},
		{"Event", store.AuditFilter{Event: audit.LoginFailed}, []int64{2, 4, 6}},
		{"Since", store.AuditFilter{Since: at(4)}, []int64{5, 6}},
		{"Until", store.AuditFilter{Until: at(4)}, []int64{1, 2, 3, 4}},
		{"Joined", store.AuditFilter{Since: at(1), Until: at(5), Subject: "v", Event: audit.LoginFailed}, []int64{2, 4}},
	} {
		test.f.After = first
		var got []int64
		for _, e := range h.audit(test.f) {
			got = append(got, e.Seq-first)
		}
		same(t, test.name, got, test.want)
	}
}

func loginFindsByAddressAndUserName(t *testing.T, h *harness) {
	u := aUser("u")
	u.UsernameFold, u.Username = "zoë", "Zoë"
	h.commit(store.Change{InsertUsers: []store.User{u, {ID: "nameless", Status: store.UserActive}}})
	for _, login := range []string{"u@example.com", "zoë"} {
		same(t, "UserByLogin "+login, must(h.UserByLogin(h.ctx, login))(t).ID, "u")
	}
	for _, login := range []string{"", "u", "Zoë", "%", "zo_"} {
		_, err := h.UserByLogin(h.ctx, login)
		wantErr(t, fmt.Sprintf("UserByLogin(%q)", login), err, store.ErrNotFound)
	}
}

func listsWithoutLimitHaveTheDefault(t *testing.T, h *harness) {
	var c store.Change
	for i := range 101 {
		id := fmt.Sprintf("%03d", i)
		c.InsertUsers = append(c.InsertUsers, aUser(id))
		c.InsertSessions = append(c.InsertSessions, aSession(id, id))
	}
	for range 1001 {
		c.Audit = append(c.Audit, audit.Entry{At: at(0), Event: audit.UserCreated})
	}
	h.commit(c)
	same(t, "users", len(must(h.Users(h.ctx, store.Page{}))(t)), 100)
	same(t, "sessions", len(h.sessions(store.SessionFilter{})), 100)
	same(t, "audit entries", len(h.audit(store.AuditFilter{})), 1000)
}
