package guardtest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/guard"
	"github.com/curfewhq/curfew/guard/guardtest"
)

// get asks a handler with a bearer token, as a client would.
func get(h http.Handler, token string) *http.Response {
	srv := httptest.NewServer(h)
	defer srv.Close()
	req, err := http.NewRequest("GET", srv.URL, nil)
	if err != nil {
		panic(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp
}

var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	claims, _ := guard.FromContext(r.Context())
	fmt.Fprintf(w, "Hello %s\n", claims.Subject)
})

// A service refuses a token from the moment on when its session has ended.
func ExampleNew() {
	a := guardtest.New(t) // t is the *testing.T of the test
	g := a.Guard(t, guard.Config{})
	service := g.Middleware(hello)

	token, session := a.Issue(guardtest.Token{Subject: "alice"})
	fmt.Println(get(service, token).Status)

	receipt := a.Revoke(session)
	fmt.Println(receipt.State, "by", receipt.Verifiers, "verifier")
	fmt.Println(get(service, token).Status)
	// Output:
	// 200 OK
	// enforced by 1 verifier
	// 401 Unauthorized
}

// What a handler does for roles and scopes can be tested with tokens that have
// them.
func ExampleAuthority_Issue() {
	a := guardtest.New(t)
	g := a.Guard(t, guard.Config{Audience: "orders"})

	text, _ := a.Issue(guardtest.Token{Subject: "bob", Audience: "orders", Roles: []string{"admin"}, Life: time.Minute})
	claims, err := g.Verify(context.Background(), text)
	if err != nil {
		panic(err)
	}
	fmt.Println(claims.Subject, claims.Roles)

	expired, _ := a.Issue(guardtest.Token{Audience: "orders", Life: -time.Minute})
	_, err = g.Verify(context.Background(), expired)
	fmt.Println(errors.Is(err, curfew.ErrExpired))
	// Output:
	// bob [admin]
	// true
}

// A session cookie is resolved by asking the authority, once.
func ExampleAuthority_Cookie() {
	a := guardtest.New(t)
	g := a.Guard(t, guard.Config{Sources: []guard.Source{guard.Cookie(guard.SessionCookie)}})

	value, session := a.Cookie(guardtest.Token{Subject: "alice"})
	for range 3 {
		r := httptest.NewRequest("GET", "/", nil)
		r.AddCookie(&http.Cookie{Name: guard.SessionCookie, Value: value})
		w := httptest.NewRecorder()
		g.Middleware(hello).ServeHTTP(w, r)
		fmt.Print(w.Body)
	}
	fmt.Println(a.Asked().Introspections, "question")
	a.Revoke(session)
	_, err := g.Verify(context.Background(), value)
	fmt.Println(errors.Is(err, curfew.ErrRevoked))
	// Output:
	// Hello alice
	// Hello alice
	// Hello alice
	// 1 question
	// true
}

// While the authority cannot be heard, a service must not say 401: its client
// would throw the session away.
func ExampleAuthority_Silence() {
	a := guardtest.New(t)
	a.SetLease(500 * time.Millisecond) // 3 s otherwise
	g := a.Guard(t, guard.Config{})
	token, _ := a.Issue(guardtest.Token{})

	a.Silence()
	time.Sleep(600 * time.Millisecond)
	resp := get(g.Middleware(hello), token)
	fmt.Println(resp.Status, "Retry-After:", resp.Header.Get("Retry-After"))

	a.Resume()
	for g.Status().Lease <= 0 {
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Println(get(g.Middleware(hello), token).Status)
	// Output:
	// 503 Service Unavailable Retry-After: 1
	// 200 OK
}

// The context of a request that runs is cancelled, with a cause that says why.
func ExampleAuthority_Record() {
	a := guardtest.New(t)
	g := a.Guard(t, guard.Config{})
	token, session := a.Issue(guardtest.Token{})
	claims, err := g.Verify(context.Background(), token)
	if err != nil {
		panic(err)
	}
	ctx, end, err := g.Enter(context.Background(), claims)
	if err != nil {
		panic(err)
	}
	defer end()

	a.Record(curfew.Revocation{Kind: curfew.KindSession, Target: session, Reason: curfew.ReasonSuspicious})
	<-ctx.Done()
	fmt.Println(context.Cause(ctx))
	// Output:
	// the session has ended: suspicious
}

// After an old backup was restored, everything from before is dead.
func ExampleAuthority_Rewind() {
	a := guardtest.New(t)
	a.SetLease(500 * time.Millisecond)
	g := a.Guard(t, guard.Config{})
	before, _ := a.Issue(guardtest.Token{})

	a.Rewind()
	after, _ := a.Issue(guardtest.Token{})
	_, err := g.Verify(context.Background(), before)
	fmt.Println(err != nil)
	_, err = g.Verify(context.Background(), after)
	fmt.Println(err)
	// Output:
	// true
	// <nil>
}
