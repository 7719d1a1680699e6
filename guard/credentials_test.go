package guard_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/guard"
	"github.com/curfewhq/curfew/guard/guardtest"
	"github.com/curfewhq/curfew/internal/token"
)

func TestBearer(t *testing.T) {
	m := &recorder{}
	a, g := newGuard(t, guard.Config{Metrics: m})
	url := serve(t, g.Middleware(whoami)).URL
	text, session := a.Issue(guardtest.Token{Subject: "carol"})
	foreign, _ := a.Issue(guardtest.Token{Audience: "orders"})
	expired, _ := a.Issue(guardtest.Token{Life: -time.Second})
	revoked, ended := a.Issue(guardtest.Token{})
	a.Revoke(ended)

	if got := get(t, url, bearer(text)).want(t, 200); got.body != "carol" {
		t.Errorf("body %q", got.body)
	}
	get(t, url, header("Authorization", "bearer "+text)).want(t, 200) // RFC 9110: the scheme has no case
	none := get(t, url)
	none.wantError(t, 401, "no_credential")
	if got := none.Header.Get("WWW-Authenticate"); strings.Contains(got, "error") {
		t.Errorf("a request without a credential is told of an error: %s (RFC 6750 §3.1)", got)
	}
	get(t, url, header("Authorization", "Basic YTpi")).wantError(t, 401, "no_credential")
	get(t, url, bearer("")).wantError(t, 401, "invalid_token")
	get(t, url, bearer("x.y.z")).wantError(t, 401, "invalid_token")
	get(t, url, bearer("short")).wantError(t, 401, "invalid_token")
	get(t, url, bearer(text+" ")).want(t, 200) // net/http trims it
	get(t, url, header("Authorization", "Bearer "+text+", Bearer "+text)).wantError(t, 401, "invalid_token")
	get(t, url, bearer(text), bearer(text)).wantError(t, 401, "invalid_token")
	get(t, url, bearer(foreign)).wantError(t, 401, "invalid_token")
	get(t, url, bearer(expired)).wantError(t, 401, "token_expired")
	get(t, url, bearer(revoked)).wantError(t, 401, "session_revoked")
	get(t, url+"/?access_token="+text).wantError(t, 401, "no_credential")
	a.Revoke(session)
	get(t, url, bearer(text)).wantError(t, 401, "session_revoked")

	m.read(func(m *recorder) {
		for v, want := range map[guard.Verdict]int{
			guard.Accepted: 3, guard.NoCredential: 3, guard.Invalid: 6, guard.Expired: 1, guard.Revoked: 2, guard.Stale: 0,
		} {
			if m.verdicts[v] != want {
				t.Errorf("%d times %s, want %d", m.verdicts[v], v, want)
			}
		}
		if m.applied != 2 || m.entries != 2 {
			t.Errorf("watermark %d after %d entries", m.applied, m.entries)
		}
	})
	if s := g.Status(); s.Seq != 2 || s.Entries != 2 || s.Running != 0 || s.Lease <= 0 || s.Err != nil || len(s.Instance) != 32 {
		t.Errorf("status %+v", s)
	}
}

// A credential that does not count is refused where none is needed: it was
// somebody, and to treat it as nobody would hide a logout.
func TestOptional(t *testing.T) {
	a, g := newGuard(t, guard.Config{})
	url := serve(t, g.Route(guard.Route{Optional: true})(whoami)).URL
	text, session := a.Issue(guardtest.Token{})
	if got := get(t, url).want(t, 200); got.body != "nobody" {
		t.Errorf("body %q", got.body)
	}
	if got := get(t, url, bearer(text)).want(t, 200); got.body != guardtest.Subject {
		t.Errorf("body %q", got.body)
	}
	a.Revoke(session)
	get(t, url, bearer(text)).wantError(t, 401, "session_revoked")
	get(t, url, bearer("a.b.c")).wantError(t, 401, "invalid_token")
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	get(t, url).want(t, 200)
	get(t, url, bearer(text)).wantError(t, 503, "verifier_stale")
}

func TestCookie(t *testing.T) {
	a, g := newGuard(t, guard.Config{Sources: []guard.Source{guard.Bearer, guard.Cookie(guard.SessionCookie)}})
	url := serve(t, g.Middleware(whoami)).URL
	value, session := a.Cookie(guardtest.Token{Subject: "carol"})
	mallory, _ := a.Cookie(guardtest.Token{Subject: "mallory"})
	inJar, _ := a.Issue(guardtest.Token{Subject: "dave"})
	c := func(v string) option { return cookie(guard.SessionCookie, v) }

	before := a.Asked().Introspections
	for range 5 {
		if got := get(t, url, c(value)).want(t, 200); got.body != "carol" {
			t.Errorf("body %q", got.body)
		}
	}
	if n := a.Asked().Introspections - before; n != 1 {
		t.Errorf("%d questions to the authority for one cookie", n)
	}
	// A cookie may hold an access token.
	get(t, url, c(inJar)).want(t, 200)
	get(t, url, cookie("other", value)).wantError(t, 401, "no_credential")
	get(t, url, c(strings.Repeat("x", 43))).wantError(t, 401, "session_revoked")
	get(t, url, c("tiny")).wantError(t, 401, "invalid_token")
	get(t, url, c(strings.Repeat("x", 600))).wantError(t, 401, "invalid_token")
	// A sibling domain can set a cookie of the same name, which comes first.
	get(t, url, c(mallory), c(value)).wantError(t, 401, "invalid_token")
	a.Revoke(session)
	get(t, url, c(value)).wantError(t, 401, "session_revoked")
	if claims, err := g.Verify(t.Context(), value); claims != nil || !errors.Is(err, curfew.ErrRevoked) {
		t.Errorf("Verify = %v, %v: claims or an error, never both", claims, err)
	}
	// The header comes first here.
	if got := get(t, url, bearer(inJar), c(mallory)).want(t, 200); got.body != "dave" {
		t.Errorf("body %q", got.body)
	}
}

// Cross-site request forgery: a browser adds cookies to what other sites cause.
// It adds no Authorization header.
func TestCrossOrigin(t *testing.T) {
	a, g := newGuard(t, guard.Config{Sources: []guard.Source{guard.Bearer, guard.Cookie(guard.SessionCookie)}})
	url := serve(t, g.Middleware(whoami)).URL
	value, _ := a.Cookie(guardtest.Token{})
	text, _ := a.Issue(guardtest.Token{})
	c := cookie(guard.SessionCookie, value)
	evil := header("Origin", "https://evil.example")
	upgrade := func(r *http.Request) {
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
	}

	call(t, "POST", url, c, evil).wantError(t, 403, "cross_origin")
	call(t, "DELETE", url, c, header("Sec-Fetch-Site", "cross-site")).wantError(t, 403, "cross_origin")
	call(t, "POST", url, c, header("Sec-Fetch-Site", "same-site")).wantError(t, 403, "cross_origin")
	call(t, "POST", url, c, header("Sec-Fetch-Site", "same-origin")).want(t, 200)
	call(t, "POST", url, c, header("Origin", url)).want(t, 200)
	call(t, "POST", url, c).want(t, 200) // no browser
	call(t, "POST", url, bearer(text), evil).want(t, 200)
	get(t, url, c, evil).want(t, 200)

	// Cross-site WebSocket hijacking: the handshake is a GET, and what comes
	// after it changes things.
	get(t, url, c, evil, upgrade).wantError(t, 403, "cross_origin")
	get(t, url, c, header("Sec-Fetch-Site", "cross-site"), upgrade).wantError(t, 403, "cross_origin")
	get(t, url, c, header("Origin", url), upgrade).want(t, 200)
	get(t, url, bearer(text), evil, upgrade).want(t, 200)
}

func TestHeaderAndCustomSource(t *testing.T) {
	a, g := newGuard(t, guard.Config{Sources: []guard.Source{
		guard.Header("x-access-token"),
		{Find: func(r *http.Request) (string, error) { return r.URL.Query().Get("ticket"), nil }},
	}})
	url := serve(t, g.Middleware(whoami)).URL
	text, _ := a.Issue(guardtest.Token{})
	get(t, url, header("X-Access-Token", text)).want(t, 200)
	get(t, url, header("X-Access-Token", text), header("X-Access-Token", text)).wantError(t, 401, "invalid_token")
	get(t, url+"/?ticket="+text).want(t, 200)
	get(t, url, bearer(text)).wantError(t, 401, "no_credential")
}

func TestRefused(t *testing.T) {
	var got error
	a, g := newGuard(t, guard.Config{Refused: func(w http.ResponseWriter, _ *http.Request, err error) {
		got = err
		w.WriteHeader(http.StatusTeapot)
	}})
	url := serve(t, g.Middleware(whoami)).URL
	text, session := a.Issue(guardtest.Token{})
	a.Revoke(session)
	get(t, url).want(t, http.StatusTeapot)
	if got != guard.ErrNoCredential {
		t.Errorf("error %v", got)
	}
	get(t, url, bearer(text)).want(t, http.StatusTeapot)
	if !errors.Is(got, curfew.ErrRevoked) {
		t.Errorf("error %v", got)
	}
}

// invented returns a token that is signed by a key that nobody knows.
func invented(t *testing.T) string {
	t.Helper()
	key, err := token.GenerateKey(token.EdDSA)
	if err != nil {
		t.Fatal(err)
	}
	s, err := token.NewSigner(curfew.NewID(), token.EdDSA, key)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	text, err := s.Sign(token.Claims{
		Issuer: guardtest.Issuer, Subject: "mallory", Audience: []string{guardtest.Audience}, Iat: now, Exp: now + 600,
		ID: "1", ClientID: "web", Session: "s",
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Key ids are free to invent. The authority must not feel it.
func TestUnknownKeysDoNotHammerTheAuthority(t *testing.T) {
	t.Parallel()
	a, g := newGuard(t, guard.Config{})
	url := serve(t, g.Middleware(whoami)).URL
	tokens := make([]string, 1000)
	for i := range tokens {
		tokens[i] = invented(t)
	}
	good, _ := a.Issue(guardtest.Token{})
	before, start := a.Asked(), time.Now()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 500}}
	defer client.CloseIdleConnections()
	var wg sync.WaitGroup
	for part := range slices.Chunk(tokens, 2) {
		wg.Go(func() {
			for _, text := range part {
				resp, err := client.Do(request(t, "GET", url, bearer(text)))
				if err != nil {
					t.Error(err)
					continue
				}
				resp.Body.Close()
				// 503 where this machine is too busy for an answer in a second.
				if resp.StatusCode != 401 && resp.StatusCode != 503 {
					t.Errorf("%s with an invented key", resp.Status)
				}
			}
		})
	}
	for range 20 { // nobody else notices
		get(t, url, bearer(good)).want(t, 200)
		time.Sleep(10 * time.Millisecond)
	}
	wg.Wait()
	after, seconds := a.Asked(), int(time.Since(start)/time.Second)
	if n := after.Confirms - before.Confirms; n > seconds+1 {
		t.Errorf("%d questions in %d s because of keys that do not exist", n, seconds)
	}
	if n := after.Polls - before.Polls; n > 2*seconds+3 {
		t.Errorf("%d polls in %d s", n, seconds)
	}
	if n := after.Introspections + after.Snapshots; n != 0 {
		t.Errorf("asked for %+v", after)
	}
}

// A key is good from the moment on when it signs, also for requests that come
// together, and while somebody invents others.
func TestNewKey(t *testing.T) {
	t.Parallel()
	a, g := newGuard(t, guard.Config{})
	url := serve(t, g.Middleware(whoami)).URL
	for range 5 {
		a.RotateKey()
		text, _ := a.Issue(guardtest.Token{})
		get(t, url, bearer(text)).want(t, 200)
	}
	get(t, url, bearer(invented(t))).wantError(t, 401, "invalid_token")

	// The link is slow, so that the requests are here long before the key.
	time.Sleep(1100 * time.Millisecond)
	a.Slow(300 * time.Millisecond)
	kid := a.RotateKey()
	text, session := a.Issue(guardtest.Token{})
	var running []<-chan answer
	for range 20 {
		running = append(running, open(t, url, bearer(text)))
		time.Sleep(time.Millisecond)
	}
	for _, ch := range running {
		got, _ := within(t, 5*time.Second, "an answer", ch)
		got.want(t, 200)
	}
	a.Resume()

	// And it is dead at once when it is revoked.
	old := text
	a.RevokeKey(kid)
	if got := get(t, url, bearer(old)); got.StatusCode != 401 {
		t.Errorf("%s with a token of a revoked key", got.Status)
	}
	text, _ = a.Issue(guardtest.Token{Session: session})
	get(t, url, bearer(text)).want(t, 200)
}
