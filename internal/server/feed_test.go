package server_test

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/denylist"
	"github.com/curfewhq/curfew/internal/feed"
	"github.com/curfewhq/curfew/internal/feed/feedhttp"
	"github.com/curfewhq/curfew/internal/token"
	"github.com/curfewhq/curfew/internal/verify"
	"github.com/google/go-cmp/cmp"
)

// service is a verifier in its own right: the follower, the check, and the link
// to the authority, which a test can cut.
type service struct {
	*feed.Follower
	*verify.Verifier
	transport *feedhttp.Client
	isCut     atomic.Bool
}

func (s *service) Replace(set *denylist.Set)                   { s.Verifier.Replace(set) }
func (s *service) SetIssuer(issuer string, keys *token.KeySet) { s.Verifier.SetIssuer(issuer, keys) }
func (s *service) Applied([]curfew.Revocation)                 {}
func (s *service) Snapshot(ctx context.Context) (io.ReadCloser, error) {
	return s.transport.Snapshot(ctx)
}

func (s *service) Poll(ctx context.Context, p *feed.Poll) ([]byte, error) {
	if s.isCut.Load() {
		return nil, errors.New("the link is cut")
	}
	body, err := s.transport.Poll(ctx, p)
	if s.isCut.Load() {
		return nil, errors.New("the link is cut")
	}
	return body, err
}

// service starts a verifier and waits for its first lease.
func (f *fixture) service(t *testing.T, key string) *service {
	t.Helper()
	s := &service{}
	var err error
	if s.transport, err = feedhttp.New(f.URL, key, nil, false); err != nil {
		t.Fatal(err)
	}
	s.Verifier = verify.New(verify.Config{
		Audience: "curfew", Denylist: denylist.New(), CacheSize: 64,
		Clock: func() (time.Time, error) { return s.Follower.Now() },
	})
	s.Follower = feed.NewFollower(feed.FollowerConfig{Transport: s, Target: s})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
		s.transport.CloseIdle()
	})
	select {
	case <-s.Ready():
	case <-time.After(10 * time.Second):
		t.Fatalf("no lease: %v", s.Status().Err)
	}
	return s
}

// poll polls once by hand.
func (f *fixture) poll(t *testing.T, key string, body M) reply {
	t.Helper()
	var opts []opt
	if key != "" {
		opts = append(opts, bearer(key))
	}
	return f.call(t, "POST", "/feed/poll", append(opts, sendJSON(body))...)
}

// grant reads the answer to a poll.
func (p reply) grant() (*feed.Grant, []curfew.Revocation) {
	p.t.Helper()
	g, entries, err := feed.ParseGrant(p.want(200).body)
	if err != nil {
		p.t.Fatalf("%v: %s", err, p.body)
	}
	return g, entries
}

// next is the poll that acknowledges g.
func next(instance string, g *feed.Grant, wait int) M {
	m := M{"instance": instance, "poll": g.Poll + 1, "log": g.Log, "seq": g.Seq, "hash": g.Hash, "wait_ms": wait}
	if g.Keys != nil {
		m["keys"] = g.Keys.Version
	}
	return m
}

func TestTheFeedNeedsAVerifiersKey(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	removed, err := f.CreateAPIKey(t.Context(), "removed", authority.KindVerifier, authority.System, authority.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	poll := M{"instance": curfew.NewID(), "poll": 1}
	f.poll(t, removed, poll).want(200)
	f.call(t, "GET", "/feed/snapshot", bearer(removed)).want(200)
	f.call(t, "DELETE", "/admin/verifiers/removed", bearer(f.operator)).want(204)
	for name, key := range map[string]string{
		"an operator's": f.operator, "a removed one": removed, "one cut short": f.verifier[:len(f.verifier)-1],
		"an access token": k.access, "a refresh token": k.refresh,
	} {
		for _, p := range []reply{f.poll(t, key, poll), f.call(t, "GET", "/feed/snapshot", bearer(key))} {
			if p.wantError(401, "invalid_key"); !strings.Contains(p.header.Get("WWW-Authenticate"), `error="invalid_token"`) {
				t.Errorf("%s: challenge %s", name, p.header.Get("WWW-Authenticate"))
			}
		}
	}
	if p := f.poll(t, "", poll).wantError(401, "invalid_key"); p.header.Get("WWW-Authenticate") != `Bearer realm="curfew"` {
		t.Errorf("challenge without a key: %s", p.header.Get("WWW-Authenticate"))
	}

	// What needs no key still knows a wrong one.
	open := start(t, options{open: true})
	k = open.loginAlice(t)
	open.poll(t, "", poll).want(200)
	open.poll(t, open.verifier, poll).want(200)
	open.poll(t, "crv_wrong", poll).wantError(401, "invalid_key")
	open.call(t, "GET", "/feed/snapshot").want(200)
	if p := open.call(t, "POST", "/introspect", sendForm("token", k.access)).want(200); p.get("active") != true {
		t.Errorf("introspection without a key: %s", p.body)
	}
	rows := open.call(t, "GET", "/admin/verifiers", bearer(open.operator)).want(200).list("instances")
	if len(rows) != 2 || rows[0]["verifier"] != "anonymous" || rows[1]["verifier"] != "test-verifier" {
		t.Errorf("instances: %v", rows)
	}
}

// A key that is removed counts for nothing from then on, and a poll that is
// waiting gets no grant for it.
func TestAPollThatWaitsIsRefusedWhenItsKeyIsRemoved(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	id := curfew.NewID()
	g, _ := f.poll(t, f.verifier, M{"instance": id, "poll": 1}).grant()
	answered := make(chan reply, 1)
	go func() { answered <- f.poll(t, f.verifier, next(id, g, 1000)) }()
	time.Sleep(50 * time.Millisecond)
	f.call(t, "DELETE", "/admin/verifiers/test-verifier", bearer(f.operator)).want(204)
	began := time.Now()
	(<-answered).wantError(401, "invalid_key")
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("refused after %v", took)
	}
}

func TestGrantsSayWhatTheProtocolSays(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: authority.Config{Lease: 2 * time.Second}})
	k := f.loginAlice(t)
	f.call(t, "POST", "/logout", bearer(k.access)).want(200)
	f.call(t, "POST", "/admin/users/bob/logout", bearer(f.operator), sendJSON(M{"reason": "compromised"})).want(200)
	id := curfew.NewID()
	g, entries := f.poll(t, f.verifier, M{"instance": id, "poll": 7, "unknown": "member"}).grant()
	st, err := f.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if g.Poll != 7 || g.Log != st.Head.LogID || g.Seq != st.Head.Seq || g.Hash != st.Head.Hash.String() || g.LeaseUS != 2_000_000 || g.ReportSeen ||
		time.Since(time.UnixMicro(g.TimeUS)).Abs() > time.Minute {
		t.Errorf("grant: %+v", g)
	}
	if g.Keys == nil || g.Keys.Issuer != f.URL || string(g.Keys.Set) != string(f.JWKS()) {
		t.Errorf("keys: %+v", g.Keys)
	}
	if len(entries) != 2 || entries[0].Kind != curfew.KindSession || entries[0].Target != k.session || entries[0].Reason != curfew.ReasonUser ||
		entries[1].Kind != curfew.KindSubject || entries[1].Target != f.bob.ID || entries[1].Reason != curfew.ReasonCompromised {
		t.Errorf("entries: %+v", entries)
	}
	// What it has it is not told again.
	again, entries := f.poll(t, f.verifier, next(id, g, 0)).grant()
	if again.Keys != nil || len(entries) != 0 || again.Seq != g.Seq || again.Hash != g.Hash || again.Poll != 8 {
		t.Errorf("second grant: %+v, %v", again, entries)
	}
	// A confirmation has no lease, and is answered at once.
	body := next(id, g, 1000)
	body["confirm"] = "fresh text"
	began := time.Now()
	confirmed, _ := f.poll(t, f.verifier, body).grant()
	if confirmed.LeaseUS != 0 || confirmed.Confirm != "fresh text" || time.Since(began) > 500*time.Millisecond {
		t.Errorf("confirmation after %v: %+v", time.Since(began), confirmed)
	}
	// While there is nothing new the call is held for a third of the lease.
	began = time.Now()
	f.poll(t, f.verifier, next(id, g, 5000)).grant()
	if took := time.Since(began); took < 400*time.Millisecond || took > 1500*time.Millisecond {
		t.Errorf("held for %v", took)
	}
	// The keys come anew when they change.
	f.call(t, "POST", "/admin/keys/rotate", bearer(f.operator)).want(200)
	rotated, _ := f.poll(t, f.verifier, next(id, g, 1000)).grant()
	if rotated.Keys == nil || rotated.Keys.Version == g.Keys.Version || string(rotated.Keys.Set) != string(f.JWKS()) {
		t.Errorf("keys after a rotation: %+v", rotated.Keys)
	}
}

func TestPollsThatAreNotUnderstood(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	f.call(t, "POST", "/logout", bearer(k.access)).want(200)
	id := curfew.NewID()
	g, _ := f.poll(t, f.verifier, M{"instance": id, "poll": 1}).grant()
	seen := map[string]int{}
	for range feed.MaxSeen + 1 {
		seen[curfew.NewID()] = 1
	}
	for name, body := range map[string]M{
		"no instance": {"poll": 1}, "a short instance": {"instance": "x"}, "an instance in capitals": {"instance": strings.ToUpper(curfew.NewID() + "a")[1:] + "A"},
		"a negative seq": {"instance": id, "seq": -1}, "a negative wait": {"instance": id, "wait_ms": -1}, "a long text": {"instance": id, "confirm": strings.Repeat("x", 65)},
		"too much that was seen": {"instance": id, "seen": seen},
	} {
		if p := f.poll(t, f.verifier, body); p.status != 400 || p.str("error_code") != "invalid_request" {
			t.Errorf("%s: %d %s", name, p.status, p.body)
		}
	}
	for _, text := range []string{"", "{", "[]", `"x"`, `{"instance":"` + id + `","seen":[]}`, `{"instance":"` + id + `","pad":"` + strings.Repeat("x", feed.MaxPoll) + `"}`} {
		f.call(t, "POST", "/feed/poll", bearer(f.verifier), raw("application/json", text)).wantError(400, "invalid_request")
	}
	// A position of another log, ahead of this one, or with another history: the
	// authority was restored, and the verifier must start over.
	for name, change := range map[string]M{
		"another log": {"log": curfew.NewID()}, "ahead of the head": {"seq": g.Seq + 1}, "another history": {"hash": strings.Repeat("0", 64)},
		"no log": {"log": ""},
	} {
		body := next(id, g, 0)
		for member, v := range change {
			body[member] = v
		}
		if p := f.poll(t, f.verifier, body); p.status != 409 || p.str("error_code") != "snapshot_required" {
			t.Errorf("%s: %d %s", name, p.status, p.body)
		}
	}
}

func TestSnapshotsAreTheSameCompressedOrNot(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	for range 3 {
		k := f.loginAlice(t)
		f.call(t, "POST", "/logout", bearer(k.access)).want(200)
	}
	f.call(t, "POST", "/admin/logout", bearer(f.operator), sendJSON(M{"client": "mobile"})).want(200)
	take := func(accept string) string {
		p := f.call(t, "GET", "/feed/snapshot", bearer(f.verifier), header("Accept-Encoding", accept)).want(200)
		text := string(p.body)
		if p.header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(z)
			if err != nil {
				t.Fatal(err)
			}
			text = "gzip " + string(b)
		}
		return regexp.MustCompile(`"time_us":\d+`).ReplaceAllString(text, `"time_us":0`)
	}
	plain, packed := take("identity"), take("br, gzip;q=0.5")
	if diff := cmp.Diff("gzip "+plain, packed); diff != "" {
		t.Errorf("plain (-) and compressed (+):\n%s", diff)
	}
	if got := take("gzip; q=0, deflate"); got != plain {
		t.Errorf("compressed for a client that does not take it: %.100s", got)
	}
	head, entries, _ := strings.Cut(plain, "\n")
	if !strings.Contains(head, `"seq":4`) || !strings.Contains(head, `"entries":4`) || !strings.Contains(head, `"clients":{"mobile":4}`) || !strings.Contains(head, f.URL) ||
		strings.Count(entries, "\n") != 4 || !strings.HasPrefix(entries, "1 session ") || !strings.HasSuffix(entries, " - admin\n") {
		t.Errorf("snapshot:\n%s", plain)
	}
}

// A verifier that waits is told at once, and the logout is answered when it has
// said that it knows.
func TestALogoutWakesThePollAndIsAnsweredAfterTheAcknowledgement(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	k := f.loginAlice(t)
	id := curfew.NewID()
	g, _ := f.poll(t, f.verifier, M{"instance": id, "poll": 1}).grant()
	polled := make(chan reply, 1)
	go func() { polled <- f.poll(t, f.verifier, next(id, g, 1000)) }()
	eventually(t, "the poll waits", func() bool {
		rows := f.call(t, "GET", "/admin/verifiers", bearer(f.operator)).list("instances")
		return len(rows) == 1 && rows[0]["instance"] == id
	})
	time.Sleep(20 * time.Millisecond)
	began := time.Now()
	loggedOut := make(chan reply, 1)
	go func() { loggedOut <- f.call(t, "POST", "/logout", bearer(k.access)) }()
	second, entries := (<-polled).grant()
	if took := time.Since(began); took > 500*time.Millisecond { // without a signal 750 at least
		t.Errorf("told after %v", took)
	}
	if len(entries) != 1 || entries[0].Target != k.session {
		t.Fatalf("entries: %v", entries)
	}
	// It has not acknowledged yet.
	seq := fmt.Sprint(second.Seq)
	p := f.call(t, "GET", "/admin/revocations/"+seq, bearer(f.operator)).want(200)
	if waiting := p.list("unacknowledged"); p.str("state") != "recorded" || len(waiting) != 1 || waiting[0]["verifier"] != "test-verifier" || waiting[0]["instance"] != id {
		t.Errorf("before the acknowledgement: %s", p.body)
	}
	select {
	case p := <-loggedOut:
		t.Errorf("answered before the acknowledgement: %s", p.body)
	case <-time.After(100 * time.Millisecond):
	}
	f.poll(t, f.verifier, next(id, second, 0)).want(200)
	p = (<-loggedOut).want(200)
	if p.str("revocation.state") != "enforced" || p.num("revocation.verifiers") != 1 || p.get("revocation.unacknowledged") != nil {
		t.Errorf("receipt: %s", p.body)
	}
	p = f.call(t, "GET", "/admin/revocations/"+seq, bearer(f.operator)).want(200)
	acks := p.list("acknowledged")
	if p.str("state") != "enforced" || p.num("verifiers") != 1 || len(acks) != 1 || acks[0]["verifier"] != "test-verifier" || acks[0]["instance"] != id ||
		acks[0]["after_ms"].(float64) < 100 || p.str("known_at") == "" || p.str("enforced_at") < p.str("known_at") {
		t.Errorf("after the acknowledgement: %s", p.body)
	}
}

func TestServicesRefuseWhatWasLoggedOut(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	one, two := f.service(t, f.verifier), f.service(t, f.verifier)
	for range 20 {
		k := f.loginAlice(t)
		for _, s := range []*service{one, two} {
			if c, err := s.Check(k.access); err != nil || c.Session != k.session {
				t.Fatalf("before the logout: %v", err)
			}
		}
		p := f.call(t, "POST", "/logout", bearer(k.access)).want(200)
		for _, s := range []*service{one, two} {
			if _, err := s.Check(k.access); !errors.Is(err, curfew.ErrRevoked) {
				t.Errorf("after the logout: %v", err)
			}
		}
		if p.num("revocation.verifiers") != 2 || p.str("revocation.state") != "enforced" {
			t.Errorf("receipt: %s", p.body)
		}
	}
	// ver in introspection is what a verifier needs that has no token to read.
	k := f.loginAlice(t)
	if p := f.introspect(t, k.access); p.num("ver") != 20 || p.str("email") != "alice@example.com" {
		t.Errorf("introspection: %s", p.body)
	}
}

// A verifier that is cut off delays a logout by a lease, is named, and refuses.
// The next logout does not wait for it.
func TestADeadVerifierIsNamedAndWaitedOut(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	live, dead := f.service(t, f.verifier), f.service(t, f.verifier)
	k, bobs := f.loginAlice(t), f.loginBob(t)
	dead.isCut.Store(true)
	began := time.Now()
	p := f.call(t, "POST", "/logout", bearer(k.access)).want(200)
	took := time.Since(began)
	if took > 3700*time.Millisecond {
		t.Errorf("answered after %v", took)
	}
	if _, err := dead.Check(k.access); !errors.Is(err, curfew.ErrStale) {
		t.Errorf("the dead one: %v", err)
	}
	if _, err := live.Check(k.access); !errors.Is(err, curfew.ErrRevoked) {
		t.Errorf("the live one: %v", err)
	}
	lapses := p.get("revocation.unacknowledged")
	want := []any{M{"verifier": "test-verifier", "instance": dead.Instance(), "lease_until": lapses.([]any)[0].(M)["lease_until"]}}
	if diff := cmp.Diff(want, lapses); diff != "" || p.num("revocation.verifiers") != 2 || p.str("revocation.state") != "enforced" {
		t.Errorf("receipt: %s\n%s", p.body, diff)
	}
	rows := f.call(t, "GET", "/admin/verifiers", bearer(f.operator)).want(200).list("instances")
	state := map[any]any{}
	for _, r := range rows {
		state[r["instance"]] = r["state"]
	}
	if diff := cmp.Diff(map[any]any{live.Instance(): "live", dead.Instance(): "lapsed"}, state); diff != "" {
		t.Errorf("instances: %v", rows)
	}
	began = time.Now()
	if p := f.call(t, "POST", "/logout", bearer(bobs.access)).want(200); time.Since(began) > time.Second || p.num("revocation.verifiers") != 1 {
		t.Errorf("the next logout after %v: %s", time.Since(began), p.body)
	}
	text := string(f.call(t, "GET", "/metrics").want(200).body)
	for _, line := range []string{
		`curfew_verifiers{state="live"} 1`, `curfew_verifiers{state="lapsed"} 1`, `curfew_leases_lapsed_total{verifier="test-verifier"} 1`,
		`curfew_verifier_watermark{verifier="test-verifier"} 2`, `curfew_revocation_lag_seconds_count 2`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	// It comes back, refuses, and is waited for again.
	dead.isCut.Store(false)
	eventually(t, "the verifier is back", func() bool { _, err := dead.Check(k.access); return errors.Is(err, curfew.ErrRevoked) })
	k = f.loginAlice(t)
	if p := f.call(t, "POST", "/logout", bearer(k.access)).want(200); p.num("revocation.verifiers") != 2 {
		t.Errorf("receipt: %s", p.body)
	}
}

// Whoever prefers not to wait is told what is true: recorded, and no more.
func TestRespondAsyncDoesNotWaitForVerifiers(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: authority.Config{Lease: time.Second}})
	s := f.service(t, f.verifier)
	s.isCut.Store(true)
	k := f.loginAlice(t)
	began := time.Now()
	p := f.call(t, "POST", "/logout", bearer(k.access), header("Prefer", "respond-async")).want(200)
	if took := time.Since(began); took > 500*time.Millisecond {
		t.Errorf("answered after %v", took)
	}
	if p.str("revocation.state") != "recorded" || p.header.Get("Preference-Applied") != "respond-async" {
		t.Errorf("receipt: %s", p.body)
	}
	path := fmt.Sprintf("/admin/revocations/%d", p.num("revocation.seq"))
	eventually(t, "who is waited for", func() bool {
		p := f.call(t, "GET", path, bearer(f.operator)).want(200)
		return p.str("state") == "recorded" && len(p.list("unacknowledged")) == 1
	})
	eventually(t, "enforced", func() bool { return f.call(t, "GET", path, bearer(f.operator)).want(200).str("state") == "enforced" })
}

func TestAReleaseIsFinal(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	id := curfew.NewID()
	f.poll(t, f.verifier, M{"instance": id, "poll": 1}).want(200)
	if p := f.poll(t, f.verifier, M{"instance": id, "poll": 2, "release": true}).want(204); len(p.body) != 0 {
		t.Errorf("body: %s", p.body)
	}
	k := f.loginAlice(t)
	began := time.Now()
	p := f.call(t, "POST", "/logout", bearer(k.access)).want(200)
	if p.num("revocation.verifiers") != 0 || time.Since(began) > time.Second {
		t.Errorf("after %v: %s", time.Since(began), p.body)
	}
	if rows := f.call(t, "GET", "/admin/verifiers", bearer(f.operator)).want(200).list("instances"); len(rows) != 0 {
		t.Errorf("instances: %v", rows)
	}
}

// A session that only a service sees is not idle.
func TestWhatServicesSeeIsActivity(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: authority.Config{IdleTimeout: 2 * time.Second, Lease: time.Second}})
	s := f.service(t, f.verifier)
	active, silent := f.loginAlice(t), f.loginAlice(t)
	begin := time.Now()
	for time.Since(begin) < 6*time.Second {
		if _, err := s.Check(active.access); errors.Is(err, curfew.ErrRevoked) {
			t.Fatalf("after %v: %v", time.Since(begin), err)
		}
		s.Seen(active.session)
		time.Sleep(50 * time.Millisecond)
	}
	for k, want := range map[tokens]curfew.Reason{active: "", silent: curfew.ReasonIdle} {
		if row, err := f.SessionByID(t.Context(), k.session); err != nil || row.EndReason != want {
			t.Errorf("ended for %q, want %q (%v)", row.EndReason, want, err)
		}
	}
	if _, err := s.Check(silent.access); !errors.Is(err, curfew.ErrRevoked) {
		t.Errorf("the idle session: %v", err)
	}
	f.isLive(t, "the active session", &active)
}

// A server that stops answers the polls that wait.
func TestDrainEndsTheWait(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: authority.Config{Lease: time.Minute}})
	id := curfew.NewID()
	g, _ := f.poll(t, f.verifier, M{"instance": id, "poll": 1}).grant()
	answered := make(chan reply, 1)
	go func() { answered <- f.poll(t, f.verifier, next(id, g, 20_000)) }()
	time.Sleep(50 * time.Millisecond)
	f.server.Drain()
	select {
	case p := <-answered:
		p.wantError(503, "cancelled")
	case <-time.After(5 * time.Second):
		t.Fatal("the poll still waits")
	}
	f.poll(t, f.verifier, next(id, g, 20_000)).wantError(503, "cancelled")
	// Everything else is served to its end.
	f.call(t, "GET", "/readyz").want(200)
}

func TestCanaryOverHTTP(t *testing.T) {
	t.Parallel()
	f := start(t, options{})
	s := f.service(t, f.verifier)
	op := bearer(f.operator)
	c := f.call(t, "POST", "/admin/canary", op).want(201)
	raw, id := c.str("access_token"), c.str("session_id")
	f.isSecret(raw)
	claims, err := s.Check(raw)
	if err != nil || claims.Subject != "curfew-canary" || claims.ClientID != "curfew-doctor" || claims.Session != id {
		t.Fatalf("a service: %+v, %v", claims, err)
	}
	if p := f.introspect(t, raw); p.get("active") != true || p.str("sub") != "curfew-canary" {
		t.Errorf("introspection: %s", p.body)
	}
	// To the authority itself it is nobody.
	for _, path := range []string{"/user", "/sessions", "/admin/status"} {
		f.call(t, "GET", path, bearer(raw)).wantError(401, "invalid_token")
	}
	if rows := f.call(t, "GET", "/admin/sessions", op).want(200).list("sessions"); len(rows) != 0 {
		t.Errorf("sessions: %v", rows)
	}
	p := f.call(t, "DELETE", "/admin/canary/"+id, op).want(200)
	acks := p.list("acknowledged")
	if p.str("state") != "enforced" || p.num("verifiers") != 1 || len(acks) != 1 || acks[0]["instance"] != s.Instance() || p.get("took_ms").(float64) <= 0 || p.str("revocation.target") != id {
		t.Errorf("answer: %s", p.body)
	}
	if _, err := s.Check(raw); !errors.Is(err, curfew.ErrRevoked) {
		t.Errorf("a service, after the end: %v", err)
	}
	if got := strings.TrimSpace(string(f.introspect(t, raw).body)); got != `{"active":false}` {
		t.Errorf("introspection, after the end: %s", got)
	}
	k := f.loginAlice(t)
	before := f.heads(t)
	for _, id := range []string{k.session, "nothing", "curfew-canary", strings.ToUpper(id) + "A"} {
		f.call(t, "DELETE", "/admin/canary/"+id, op).wantError(404, "not_found")
	}
	if after := f.heads(t); after != before {
		t.Errorf("heads moved from %v to %v", before, after)
	}
	f.isLive(t, "a session that is no canary", &k)
}

func TestStatusShowsSettings(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: authority.Config{AccessLife: 5 * time.Minute, IdleTimeout: time.Hour, Lease: 2500 * time.Millisecond, RotateEvery: 100 * 365 * 24 * time.Hour}})
	p := f.call(t, "GET", "/admin/status", bearer(f.operator)).want(200)
	want := M{"access_life_s": 300.0, "lifetime_s": 2592000.0, "idle_timeout_s": 3600.0, "rotate_every_s": 0.0, "lease_s": 2.5}
	if diff := cmp.Diff(want, p.get("policy")); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
	store := M{"engine": "sqlite", "settings": M{"journal_mode": "wal", "synchronous": "full"}}
	if diff := cmp.Diff(store, p.get("store")); diff != "" {
		t.Errorf("store (-want +got):\n%s", diff)
	}
}

// With a lease that is longer than calls usually may take, a logout still waits
// for it. The deadline of the connection must not be in its way.
func TestALogoutMayTakeAsLongAsALease(t *testing.T) {
	t.Parallel()
	f := start(t, options{Config: authority.Config{Lease: time.Minute}})
	k := f.loginAlice(t)
	r, err := http.NewRequestWithContext(t.Context(), "POST", f.URL+"/logout", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+k.access)
	w := &deadlines{header: http.Header{}}
	f.server.ServeHTTP(w, r)
	if w.status != 200 || time.Until(w.write) < feed.Wait(time.Minute) {
		t.Errorf("status %d, deadline in %v", w.status, time.Until(w.write))
	}
}

// deadlines is an answer that notes until when it may be written.
type deadlines struct {
	header http.Header
	status int
	write  time.Time
}

func (d *deadlines) Header() http.Header         { return d.header }
func (d *deadlines) Write(b []byte) (int, error) { return len(b), nil }
func (d *deadlines) WriteHeader(status int)      { d.status = status }

func (d *deadlines) SetWriteDeadline(at time.Time) error { d.write = at; return nil }
